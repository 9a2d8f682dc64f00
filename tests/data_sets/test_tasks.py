"""Data prepared from reasoning-gym."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import reasoning_gym

from verl_maxpo.cli import main
from verl_maxpo.data.rows import SCHEMA
from verl_maxpo.data.tasks import task_config
from verl_maxpo.rewards.verifiers.reasoning_gym import entry_from_text


def run(task: str, out: Path, *options: object, size: int = 20, test_size: int = 10) -> int:
    sizes = ["--size", size, "--test-size", test_size]
    return main(["prepare", *map(str, [f"reasoning_gym:{task}", "--out", out, *sizes, *options])])


def read(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def questions(file: Path) -> list[str]:
    return [row["extra_info"]["question"] for row in read(file)]


@pytest.mark.parametrize("task", ["chain_sum", "spell_backward", "simple_equations"])
def test_rows(task: str, tmp_path: Path) -> None:
    assert run(task, tmp_path) == 0
    score = reasoning_gym.get_score_answer_fn(task)
    for split, count in {"train": 20, "test": 10}.items():
        rows = read(tmp_path / f"{split}.parquet")
        assert pq.read_schema(tmp_path / f"{split}.parquet").equals(SCHEMA)
        assert len(rows) == count
        for row in rows:
            info = row["extra_info"]
            entry = entry_from_text(info["entry"])
            assert row["data_source"] == f"reasoning_gym/{task}"
            assert row["prompt"][0]["content"].startswith(f"{info['question']}\n\n")
            assert "<answer>" in row["prompt"][0]["content"]
            assert info["task"] == task
            assert entry["question"] == info["question"]
            assert row["reward_model"]["ground_truth"] == entry["answer"]
            assert score(row["reward_model"]["ground_truth"], entry) == 1


# list_functions draws from Python's global random numbers.
@pytest.mark.parametrize("task", ["chain_sum", "list_functions"])
def test_a_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path, task: str) -> None:
    for name, seed in {"a": 3, "b": 3, "c": 4}.items():
        assert run(task, tmp_path / name, "--seed", seed) == 0
    for file in ("train.parquet", "test.parquet"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b != c


def test_sizes_do_not_change_the_other_set(tmp_path: Path) -> None:
    for name, sizes in {"a": (20, 10), "b": (40, 10), "c": (20, 15)}.items():
        assert run("chain_sum", tmp_path / name, size=sizes[0], test_size=sizes[1]) == 0
    a, b, c = (
        {split: questions(tmp_path / name / f"{split}.parquet") for split in ("train", "test")} for name in "abc"
    )
    assert a["test"] == b["test"] == c["test"][:10]
    assert a["train"] == c["train"] == b["train"][:20]


def test_train_and_test_are_disjoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Few different problems: sums of two one-digit numbers.
    config = ["--task-config", "min_terms=2", "max_terms=2", "min_digits=1", "max_digits=1"]
    assert run("chain_sum", tmp_path, *config, size=300, test_size=50) == 0
    train, test = questions(tmp_path / "train.parquet"), questions(tmp_path / "test.parquet")
    assert len(test) == 50
    assert len(train) == len(set(train))
    assert not set(train) & set(test)
    said = capsys.readouterr().out
    assert f"{len(train)} of 300 rows" in said
    assert "also in a test set" in said


def test_a_task_without_one_right_answer(tmp_path: Path) -> None:
    assert run("graph_color", tmp_path, size=2, test_size=2) == 0
    assert {row["reward_model"]["ground_truth"] for row in read(tmp_path / "train.parquet")} == {""}


def test_task_config_reaches_the_task(tmp_path: Path) -> None:
    assert run("chain_sum", tmp_path, "--task-config", "min_terms=5", "max_terms=5") == 0
    entries = [entry_from_text(row["extra_info"]["entry"]) for row in read(tmp_path / "train.parquet")]
    assert {entry["metadata"]["num_terms"] for entry in entries} == {5}
    assert task_config(["a=1", 'b=["+"]', "c=text", "d="]) == {"a": 1, "b": ["+"], "c": "text", "d": None}


@pytest.mark.parametrize(
    ("task", "options", "expected"),
    [
        ("chain_su", [], "reasoning-gym has no task 'chain_su'; near it are: chain_sum"),
        (
            "chain_sum",
            ["--task-config", "terms=1"],
            "chain_sum has no option terms; --task-config takes: allow_negation",
        ),
        ("chain_sum", ["--task-config", "seed=1"], "chain_sum has no option seed"),
        ("chain_sum", ["--task-config", "max_terms=1"], "chain_sum does not accept {'max_terms': 1}"),
        ("chain_sum", ["--task-config", "4"], "chain_sum has no option 4"),
        ("chain_sum", ["--task-config", "a=[1"], "--task-config takes KEY=VALUE, got a=[1"),
        ("chain_sum", ["--local", "a.jsonl"], "is generated and does not take --local"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, options: list[str], expected: str
) -> None:
    assert run(task, tmp_path, *options) == 2
    assert expected in capsys.readouterr().err
