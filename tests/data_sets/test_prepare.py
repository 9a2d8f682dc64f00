"""Data preparation, in process, from the samples in tests/samples and from files written here."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import RunPython

from verl_maxpo.cli import main
from verl_maxpo.data import prepare
from verl_maxpo.data.normalise import normalise, problem_id
from verl_maxpo.data.reading import hub_revision
from verl_maxpo.data.rows import SCHEMA, DataError
from verl_maxpo.data.sources import SOURCES, boxed_answer

SAMPLES = Path(__file__).parents[1] / "samples"
ROWS = {"gsm8k": (24, 16), "math": (24, 16), "dapo_math": (16, 0), "aime24": (0, 10), "aime25": (0, 10)} | {
    "amc23": (0, 10),
    "math500": (0, 16),
}

# Columns of the data sets' cards on the hub, in their order.
CARDS = {
    "gsm8k": ["question", "answer"],
    "math": ["problem", "level", "solution", "type"],
    "dapo_math": ["data_source", "prompt", "ability", "reward_model", "extra_info"],
    "aime24": ["id", "problem", "solution", "answer", "url", "year"],
    "aime25": ["problem", "answer", "id"],
    "amc23": ["id", "answer", "url", "question"],
    "math500": ["problem", "solution", "answer", "subject", "level", "unique_id"],
}

Write = Callable[[str, Sequence[dict[str, Any]]], Path]


def sample_files(name: str) -> dict[str, Path]:
    splits = SOURCES[name].splits
    return {s: SAMPLES / (f"{name}_{s}.jsonl" if len(splits) > 1 else f"{name}.jsonl") for s in splits}


def run(name: str, out: Path, *options: object, local: dict[str, Path] | None = None) -> int:
    files = local or sample_files(name)
    arguments = [name, "--out", out, "--local", *(f"{split}={file}" for split, file in files.items()), *options]
    return main(["prepare", *map(str, arguments)])


def read(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def samples(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def manifest(out: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return read


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_rows(name: str, rows: Sequence[dict[str, Any]]) -> Path:
        file = tmp_path / name
        if file.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), file)
        elif file.suffix == ".csv":
            with file.open("w", newline="") as lines:
                writer = csv.DictWriter(lines, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        elif file.suffix == ".json":
            file.write_text(json.dumps(rows))
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    return write_rows


def gsm8k_rows(*questions: str, answer: int = 7) -> list[dict[str, Any]]:
    return [{"question": question, "answer": f"Count.\n#### {answer}"} for question in questions]


# ---- every data set from its sample ----


@pytest.mark.parametrize("name", SOURCES)
def test_samples_have_the_columns_of_the_hub(name: str) -> None:
    for file in sample_files(name).values():
        assert all(list(row) == CARDS[name] for row in samples(file))
    assert set(SOURCES[name].columns) <= set(CARDS[name])


@pytest.mark.parametrize("name", SOURCES)
def test_prepares(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path) == 0
    written = {"train": ROWS[name][0], "test": ROWS[name][1]}
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        ["manifest.json", *(f"{split}.parquet" for split, count in written.items() if count)]
    )
    for split, count in written.items():
        if not count:
            continue
        file = tmp_path / f"{split}.parquet"
        assert pq.read_schema(file).equals(SCHEMA)
        rows = read(file)
        assert len(rows) == count
        for row in rows:
            question, truth = row["extra_info"]["question"], row["reward_model"]["ground_truth"]
            assert row["data_source"] == SOURCES[name].data_source
            assert row["prompt"] == [{"role": "user", "content": f"{question} {SOURCES[name].suffix}"}]
            assert row["reward_model"]["style"] == "rule"
            assert truth.strip() == truth != ""
            assert row["extra_info"]["split"] == split
            assert row["extra_info"]["problem_id"] == problem_id(question)
            assert row["extra_info"]["task"] is row["extra_info"]["entry"] is None
        assert len({row["extra_info"]["problem_id"] for row in rows}) == count
        assert [row["extra_info"]["index"] for row in rows] == list(range(count))


def test_ground_truths(tmp_path: Path) -> None:
    for name in SOURCES:
        assert run(name, tmp_path / name) == 0
    gsm8k = read(tmp_path / "gsm8k/train.parquet")
    assert gsm8k[2]["reward_model"]["ground_truth"] == "21400"  # "#### 21,400"
    math500 = samples(SAMPLES / "math500.jsonl")
    prepared = read(tmp_path / "math500/test.parquet")
    assert [row["reward_model"]["ground_truth"] for row in prepared] == [row["answer"] for row in math500]
    assert [boxed_answer(row["solution"]) for row in math500] == [row["answer"] for row in math500]
    aime = [row["reward_model"]["ground_truth"] for row in read(tmp_path / "aime24/test.parquet")]
    assert aime[:3] == ["576", "7", "22"]  # "007" and "022"
    assert read(tmp_path / "amc23/test.parquet")[0]["reward_model"]["ground_truth"] == "625"  # "625.0"


def test_dapo_loses_its_own_instruction_and_its_repetitions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dapo_math", tmp_path) == 0
    assert "16 of 32 rows, 16 duplicates (0 with another answer)" in capsys.readouterr().out
    first = read(tmp_path / "train.parquet")[0]
    assert first["prompt"][0]["content"] == (
        "How many positive integers not exceeding $250$ are divisible by $29$? "
        r"Let's think step by step and output the final answer within \boxed{}."
    )
    assert first["reward_model"]["ground_truth"] == str(250 // 29)


@pytest.mark.parametrize(("text", "ending"), [("Answer in one word.", " Answer in one word."), ("", "")])
def test_suffix(tmp_path: Path, text: str, ending: str) -> None:
    assert run("gsm8k", tmp_path, "--suffix", text) == 0
    row = read(tmp_path / "test.parquet")[0]
    assert row["prompt"][0]["content"] == row["extra_info"]["question"] + ending


# ---- answers ----


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"$\boxed{1}$ then $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"$\boxed{\{1, \{2\}\}}$", r"\{1, \{2\}\}"),
        (r"$\boxed{\left\{x : x > 1\right.}$", r"\left\{x : x > 1\right."),
        (r"our answer is $\boxed 2$.", "2"),
        (r"$\boxed {35}$", "35"),
        (r"$\boxed\frac12$ units", r"\frac12"),
        (r"$\fbox{35}$", "35"),
        (r"$\boxed{1}$ and $\boxed{2}$", "1, 2"),
    ],
)
def test_boxed_answer(solution: str, answer: str) -> None:
    assert boxed_answer(solution) == answer


@pytest.mark.parametrize(
    "solution", ["no box", r"$\boxed{}$", r"$\boxed{1", r"\boxed{ }", r"\boxed", r"\boxed{\}", r"\boxed{1} \boxed{2"]
)
def test_boxed_answer_is_never_guessed(solution: str) -> None:
    with pytest.raises(ValueError, match="solution"):
        boxed_answer(solution)


@settings(deadline=None)  # the first call may compile
@given(st.recursive(st.sampled_from(["x", "1", r"\{", r"\frac "]), lambda inner: inner.map(lambda s: "{" + s + "}y")))
def test_boxed_answer_matches_braces(content: str) -> None:
    assert boxed_answer(rf"First \boxed{{0}}, so $\boxed{{{content}}}$. {{more}}") == content.strip()


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("#### 72", "72"), ("#### -3", "-3"), ("#### 1,234,567 ", "1234567"), ("#### $0.50", "0.50"), ("####5.", "5")],
)
def test_gsm8k_answers(answer: str, truth: str) -> None:
    row = {"question": "How many? #### 1", "answer": f"So #### 1 and\n{answer}"}
    assert SOURCES["gsm8k"].parse(row).ground_truth == truth


@pytest.mark.parametrize(("answer", "truth"), [("025", "25"), (25, "25"), (25.0, "25"), ("0", "0"), (" -3.00 ", "-3")])
def test_integer_answers(answer: object, truth: str) -> None:
    assert SOURCES["amc23"].parse({"question": "q", "answer": answer}).ground_truth == truth


@pytest.mark.parametrize("answer", [None, "", "1.5", "nan", "1e3", float("inf"), "1 2", [1], "٣a"])
def test_integer_answers_are_never_guessed(answer: object) -> None:
    with pytest.raises(ValueError, match="answer must be an integer"):
        SOURCES["amc23"].parse({"question": "q", "answer": answer})


# ---- which problems are the same ----


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is $x+1$?", "what is x + 1"),
        (r"Find $\left(1,\,2\right)$.", "Find (1, 2)"),
        ("The  ﬁrst\nline…", "the first line..."),
        (r"\(a\) and \[b\]", "$a$ and $$b$$"),
        ("It is 5. How many?", "It is 5 How many"),
        ("Tom’s “cat”", 'Tom\'s "cat"'),
    ],
)
def test_same_problem(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert problem_id(one) == problem_id(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5+3", "5-3"),
        ("12 - 5", "12.5"),
        ("1 12", "11 2"),
        ("5!", "5"),
        ("(1,2)", "(12)"),
        ("2:3", "23"),
        ("(a+b)c", "a+(bc)"),
        (r"a \leftarrow b", r"a \rightarrow b"),
        ("x<y", "x>y"),
    ],
)
def test_other_problem(one: str, other: str) -> None:
    assert problem_id(one) != problem_id(other)


@given(
    st.lists(st.text("abcxyz", min_size=1), min_size=1),
    st.sampled_from([" ", "\n", "\t ", r"\quad ", "~", r"\, ", "$ ", ", "]),
)
def test_spacing_and_case_do_not_matter(words: list[str], space: str) -> None:
    assert normalise(space.join(words) + ".") == normalise(" ".join(words).upper() + " ?") == " ".join(words)


@given(st.text())
def test_any_text_has_an_id(text: str) -> None:
    assert re.fullmatch("[0-9a-f]{16}", problem_id(text))


# ---- duplicates and contamination ----


def test_counts_of_what_is_left_out(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    train = gsm8k_rows("One?", "Two?", "one ?", "Three?", "FOUR", "Five?", "Two", "six") + gsm8k_rows("two?", answer=8)
    local = {"train": write("a.jsonl", train), "test": write("b.jsonl", gsm8k_rows("Four?", "Nine?", "nine"))}
    held_out = tmp_path / "held_out"
    assert run("gsm8k", held_out, local={"train": write("c.jsonl", gsm8k_rows("x")), "test": local["test"]}) == 0
    others = write("d.jsonl", [{"question": "Five!?", "answer": 1}, {"question": "three", "answer": 2}])
    assert run("amc23", tmp_path / "amc23", local={"test": others}) == 0
    against = (tmp_path / "amc23/test.parquet", held_out / "test.parquet")
    capsys.readouterr()

    assert run("gsm8k", tmp_path / "out", "--against", *against, local=local) == 0
    rows = read(tmp_path / "out/train.parquet")
    assert [row["extra_info"]["question"] for row in rows] == ["One?", "Two?", "Five?", "six"]
    assert [row["extra_info"]["index"] for row in rows] == [0, 1, 5, 7]
    counts = manifest(tmp_path / "out")["files"]
    expected = {"read": 9, "written": 4, "bad": 0, "contaminated": 2, "duplicates": 3, "conflicting": 1}
    assert {key: counts["train.parquet"][key] for key in expected} == expected
    expected = {"read": 3, "written": 3, "contaminated": 0, "duplicates": 1, "conflicting": 0}
    assert {key: counts["test.parquet"][key] for key in expected} == expected
    said = capsys.readouterr().out
    assert "4 of 9 rows, 2 also in a test set, 3 duplicates (1 with another answer)" in said
    assert "3 of 3 rows, 1 duplicates" in said


def test_math_against_math500(tmp_path: Path, write: Write) -> None:
    leaked = [samples(SAMPLES / "math500.jsonl")[i] for i in (3, 5)]
    columns = {"subject": "type", "problem": "problem", "solution": "solution"}
    train = samples(SAMPLES / "math_train.jsonl")
    train[7:7] = [{"level": "Level 1"} | {new: row[old] for old, new in columns.items()} for row in leaked]
    local = sample_files("math") | {"train": write("train.parquet", train)}
    assert run("math500", tmp_path / "math500") == 0
    assert run("math", tmp_path / "math", "--against", tmp_path / "math500/test.parquet", local=local) == 0
    prepared, evaluated = read(tmp_path / "math/train.parquet"), read(tmp_path / "math500/test.parquet")
    assert len(prepared) == 24
    ids = {row["extra_info"]["problem_id"] for row in evaluated}
    assert not ids & {row["extra_info"]["problem_id"] for row in prepared}
    assert manifest(tmp_path / "math")["files"]["train.parquet"]["contaminated"] == 2


def test_a_training_set_that_is_all_test_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = SAMPLES / "gsm8k_test.jsonl"
    assert run("gsm8k", tmp_path / "out", local={"train": file, "test": file}) == 1
    assert "no row is left (0 of 16 rows, 16 also in a test set)" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


# ---- idempotence ----


def test_again_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("gsm8k", tmp_path) == 0
    before = {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in tmp_path.iterdir()}
    monkeypatch.setattr(prepare, "prepare", None)
    capsys.readouterr()
    assert run("gsm8k", tmp_path) == 0
    assert "prepared in" in capsys.readouterr().out
    assert {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_what_was_tampered_with_is_made_anew(tmp_path: Path, harm: str) -> None:
    assert run("gsm8k", tmp_path) == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    train = tmp_path / "train.parquet"
    if harm == "change":
        train.write_bytes(train.read_bytes()[:-1] + b"x")
    else:
        train.unlink()
    assert run("gsm8k", tmp_path) == 0
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("content", ['{"request":', "[]", '{"name": "my app"}', '{"request": {}}', '{"request": [1]}'])
def test_a_manifest_of_others_protects_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "train.parquet").write_text("mine")
    assert run("gsm8k", tmp_path) == 2
    assert "manifest.json was not written by `verl-maxpo prepare`" in capsys.readouterr().err
    assert (tmp_path / "manifest.json").read_text() == content
    assert (tmp_path / "train.parquet").read_text() == "mine"


def test_what_was_prepared_otherwise_is_written_anew(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    local = sample_files("gsm8k") | {"train": write("gsm8k_train.jsonl", gsm8k_rows("Another?"))}
    assert run("gsm8k", tmp_path / "out") == 0
    assert "writing it again" not in capsys.readouterr().out
    for options, files, rows in [(["--suffix", "?"], None, 24), ([], local, 1), (["--suffix", "!"], local, 1)]:
        assert run("gsm8k", tmp_path / "out", *options, local=files) == 0
        assert "prepared with other options, or changed since: writing it again" in capsys.readouterr().out
        assert len(read(tmp_path / "out/train.parquet")) == rows


def test_what_a_run_script_asks_for_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script names the hub: local files in its place will do, but not what would train on test problems."""
    assert run("math500", tmp_path / "math500") == run("math", tmp_path / "math") == 0
    asked = ["prepare", "math", "--out", str(tmp_path / "math")]
    assert main(asked) == 0
    assert "is prepared in" in capsys.readouterr().out
    assert main([*asked, "--against", str(tmp_path / "math500/test.parquet")]) == 1  # the hub is not there
    assert "cannot be loaded from the Hugging Face hub" in capsys.readouterr().err


def test_against_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("math500", "amc23"):
        assert run(name, tmp_path / name) == 0
    files = [tmp_path / name / "test.parquet" for name in ("math500", "amc23")]
    assert run("math", tmp_path / "math", "--against", *files) == 0
    assert len({file["sha256"] for file in manifest(tmp_path / "math")["request"]["against"]}) == 2


def test_a_failure_leaves_what_was_there(tmp_path: Path, write: Write) -> None:
    assert run("gsm8k", tmp_path / "out") == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    bad = write("bad.jsonl", [*gsm8k_rows("Fine?"), {"question": "q", "answer": "no number"}])
    assert run("gsm8k", tmp_path / "out", local=sample_files("gsm8k") | {"train": bad}) == 1
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_a_folder_holds_one_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gsm8k", tmp_path) == 0
    assert run("aime24", tmp_path) == 2
    assert "holds gsm8k: give --out another folder for aime24" in capsys.readouterr().err


def test_files_of_others_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.parquet").write_text("mine")
    assert run("gsm8k", tmp_path) == 2
    assert "train.parquet was not written by" in capsys.readouterr().err
    assert (tmp_path / "train.parquet").read_text() == "mine"


# ---- local files ----


@pytest.mark.parametrize("suffix", ["parquet", "json", "jsonl", "csv"])
def test_formats_give_the_same_rows(tmp_path: Path, write: Write, suffix: str) -> None:
    file = write(f"aime.{suffix}", samples(SAMPLES / "aime24.jsonl"))
    assert run("aime24", tmp_path / "a") == run("aime24", tmp_path / "b", local={"test": file}) == 0
    assert read(tmp_path / "a/test.parquet") == read(tmp_path / "b/test.parquet")


def test_local_files_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address))
    assert run("gsm8k", tmp_path) == 0
    assert not asked


def test_csv_is_text_as_it_stands(tmp_path: Path, write: Write) -> None:
    rows = [{"problem": "NA", "answer": "1,000"}, {"problem": "null", "answer": "0.10"}]
    assert run("math500", tmp_path / "out", local={"test": write("m.csv", rows)}) == 0
    prepared = read(tmp_path / "out/test.parquet")
    assert [row["extra_info"]["question"] for row in prepared] == ["NA", "null"]
    assert [row["reward_model"]["ground_truth"] for row in prepared] == ["1,000", "0.10"]


def test_json_is_read_as_it_stands(tmp_path: Path, write: Write) -> None:
    answers = ["44.40", 49.75, "007", "1e3", "12345678901234567890.10", 12345678901234567890, "$4.50"]
    for suffix in ("jsonl", "json"):
        rows = [{"problem": f"Question {i}", "answer": answer} for i, answer in enumerate(answers)]
        rows[0] |= {"unused": [1]}
        assert run("math500", tmp_path / suffix, local={"test": write(f"m.{suffix}", rows)}) == 0
        prepared = read(tmp_path / suffix / "test.parquet")
        assert [row["reward_model"]["ground_truth"] for row in prepared] == list(map(str, answers))


def test_missing_column_names_everything(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    file = write("q.jsonl", [{"question": "q", "solution": "s"}])
    assert run("gsm8k", tmp_path / "out", local={"train": file, "test": file}) == 1
    said = capsys.readouterr().err
    for part in (str(file), "lacks the column 'answer'", "gsm8k needs question, answer", "it has question, solution"):
        assert part in said


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"question": "q", "answer": "#### 1"}\n\n{"question": "q", "ans', "a.jsonl, line 3: Unterminated"),
        ("a.jsonl", '{"question": "q", "answer": "#### 1"}\n[1]\n', "a.jsonl, line 2: expected an object, got [1]"),
        ("a.jsonl", b'{"question": "q", "answer": "#### 1"}\n{"question": "\xff"}', "a.jsonl, line 2: 'utf-8' codec"),
        ("a.json", '[{"question": "q", "answer": "#### 1"}, 2]', "a.json cannot be read as json"),
        ("a.parquet", "no parquet", "cannot be read as parquet"),
        (
            "a.csv",
            "question,answer\nq,#### 1\nq,#### 1,x\n",
            "Expected 2 fields in line 3, saw 3",
        ),
        (
            "a.csv",
            "question,answer\nq,1,2\n",
            "line 2 has more fields than the header, which has 2",
        ),
        ("a.csv", "question,answer\nq\n", "a.csv, row 0: answer must be a text that is not empty, got ''"),
        ("a.csv", "\n", "a.csv cannot be read as csv: it has no rows"),
        ("a.csv", "question,answer\n", "a.csv has no rows"),
        ("a.jsonl", "", "the file is empty"),
        ("a.txt", "q", "expected a file ending in .parquet, .json, .jsonl, .csv, got '.txt'"),
        ("a.json", "[]", "a.json has no rows"),
    ],
)
def test_unreadable_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | bytes, expected: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run("gsm8k", tmp_path / "out", local={"train": file, "test": file}) in (1, 2)
    said = capsys.readouterr().err
    assert expected in said
    assert said.startswith("error: ")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nope"], "nope needs --question COLUMN and --answer COLUMN, unless it is one of gsm8k, math,"),
        (["gsm8k", "--local", "a.jsonl"], "--local takes train=... test=..., got a.jsonl"),
        (["gsm8k", "--local", "train=a.jsonl"], "--local needs a file for each split of gsm8k: train, test"),
        (["aime24", "--local", "test=none.jsonl"], "none.jsonl: there is no such file"),
        (["aime24", "--task-config", "a=1"], "--task-config is for reasoning_gym:TASK"),
        (["aime24", "--against", "x.parquet"], "--against keeps problems out of a training set, and aime24 has none"),
        (["dapo_math", "--against", "none.parquet"], "none.parquet"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(["prepare", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_against_needs_a_prepared_file(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (write("a.parquet", gsm8k_rows("q")), write("b.jsonl", gsm8k_rows("q"))):
        assert run("gsm8k", tmp_path / "out", "--against", file) == 2
        assert "expected a prepared file, whose extra_info has the question" in capsys.readouterr().err


def test_out_that_is_a_file(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gsm8k", write("out.jsonl", gsm8k_rows("q"))) == 2
    assert capsys.readouterr().err.startswith("error: ")


# ---- files and data sets of the hub by their columns ----

COLUMNS = ["--question", "q", "--answer", "a"]


def run_own(*arguments: object, out: Path) -> int:
    return main(["prepare", *map(str, arguments), *COLUMNS, "--out", str(out)])


@pytest.mark.parametrize(
    ("answer_format", "answers", "truths"),
    [
        ("plain", ["\\frac{1}{2} ", 7, 7.0, 0.5], ["\\frac{1}{2}", "7", "7", "0.5"]),
        ("boxed", [r"so $\boxed{x}$."], ["x"]),
        ("####", ["so\n#### 1,000"], ["1000"]),
    ],
)
def test_a_file_by_its_columns(
    tmp_path: Path,
    write: Write,
    capsys: pytest.CaptureFixture[str],
    answer_format: str,
    answers: list[Any],
    truths: Any,
) -> None:
    file = write("mine.jsonl", [{"q": f"Question {i}?", "a": answer} for i, answer in enumerate(answers)])
    assert run_own(file, "--answer-format", answer_format, "--test-size", 0, out=tmp_path / "out") == 0
    rows = read(tmp_path / "out/train.parquet")
    assert [row["reward_model"]["ground_truth"] for row in rows] == truths
    assert {row["data_source"] for row in rows} == {"mine"}
    ending = r"Let's think step by step and output the final answer within \boxed{}."
    assert [row["prompt"][0]["content"] for row in rows] == [f"Question {i}? {ending}" for i in range(len(rows))]
    said = capsys.readouterr().out
    assert f"each prompt ends in {ending!r}; --suffix changes that, and --suffix '' leaves it out" in said
    assert "no verifier claims the data source 'mine'" in said
    assert not (tmp_path / "out/test.parquet").exists()


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize(("size", "count"), [([], 3), (["--test-size", 0.2], 6), (["--test-size", 7], 7)])
def test_a_test_set_is_drawn_from_a_file(
    tmp_path: Path, write: Write, suffix: str, size: list[Any], count: int
) -> None:
    file = write(f"mine.{suffix}", [{"q": f"Question {i}?", "a": f"{i}"} for i in range(30)])
    drawn = {}
    for seed in (0, 1):
        assert run_own(file, *size, "--seed", seed, out=tmp_path / f"{seed}") == 0
        train, test = (read(tmp_path / f"{seed}" / f"{split}.parquet") for split in ("train", "test"))
        drawn[seed] = [row["extra_info"]["index"] for row in test]
        assert len(test) == count
        assert sorted([*drawn[seed], *(row["extra_info"]["index"] for row in train)]) == list(range(30))
        assert all(row["extra_info"]["index"] == int(row["reward_model"]["ground_truth"]) for row in train + test)
    assert drawn[0] != drawn[1]
    assert run_own(file, *size, out=tmp_path / "again") == 0
    assert [row["extra_info"]["index"] for row in read(tmp_path / "again/test.parquet")] == drawn[0]


def test_another_path_to_a_file_is_no_other_request(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("mine.jsonl", [{"q": f"Question {i}?", "a": f"{i}"} for i in range(10)])
    assert run_own(file, out=tmp_path / "out") == run_own(os.path.relpath(file), out=tmp_path / "out") == 0
    assert "mine is prepared in" in capsys.readouterr().out


def test_a_second_file_is_to_evaluate_on(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    train = write("train.jsonl", [{"q": f"{i}", "a": "1"} for i in range(4)])
    test = write("dev.csv", [{"q": "3", "a": "1"}, {"q": "5", "a": "1"}])
    assert run_own(train, test, "--data-source", "aime_mine", "--suffix", "", out=tmp_path / "out") == 0
    rows = [read(tmp_path / f"out/{split}.parquet") for split in ("train", "test")]
    assert [[row["prompt"][0]["content"] for row in split] for split in rows] == [["0", "1", "2"], ["3", "5"]]
    assert {row["data_source"] for split in rows for row in split} == {"aime_mine"}
    said = capsys.readouterr().out
    assert "the verifier of aime_mine is math" in said
    assert "each prompt ends in" not in said


def test_other_columns_reach_the_reward(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"difficulty": 0.5, "tests": ["a", "b"], "index": 9, "task": "mine", "none": None, "more": {"level": 3}}
    file = write("mine.jsonl", [{"q": "One?", "a": 1, **more}, {"q": "Two?", "a": 2}])
    assert run_own(file, "--test-size", 0, out=tmp_path / "out") == 0
    assert "columns in extra_info for the reward: difficulty, tests, none, more" in capsys.readouterr().out
    first, second = (row["extra_info"] for row in read(tmp_path / "out/train.parquet"))
    assert first == {**first, **more, "index": 0, "question": "One?"}
    assert (second["difficulty"], second["tests"], second["index"]) == (None, None, 1)
    assert run_own(file, "--test-size", 0, "--keep", "difficulty", out=tmp_path / "out") == 0
    assert read(tmp_path / "out/train.parquet")[0]["extra_info"].keys() - {"difficulty"} == {
        *("split", "index", "problem_id", "question", "task", "entry")
    }
    assert run_own(file, "--test-size", 0, "--keep", out=tmp_path / "out") == 0
    assert pq.read_schema(tmp_path / "out/train.parquet").equals(SCHEMA)
    assert run_own(file, "--keep", "hardness", out=tmp_path / "out") == 1
    assert "lacks the column 'hardness'" in capsys.readouterr().err
    assert run_own(file, "--keep", "index", out=tmp_path / "out") == 2
    assert (
        "extra_info has fields split, index, problem_id, question of its own: rename index" in capsys.readouterr().err
    )


def test_a_column_of_several_types_is_named(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"q": f"{i}", "a": 1, "level": i if i < 1500 else "high"} for i in range(1600)]
    assert run_own(write("mine.jsonl", rows), "--test-size", 0, out=tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "a column has values of several types" in said
    assert "high" in said
    assert "--keep" in said


def test_a_data_set_of_the_hub_by_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, name: str | None, *, split: str, revision: str | None) -> datasets.Dataset:
        return datasets.Dataset.from_list([{"q": f"{split} {i}", "a": "1"} for i in range(10)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True)
    for options, split in [([], "train"), (["--split", "train=train", "test=validation"], "validation")]:
        assert run_own("my/set", *options, out=tmp_path / split) == 0
        test = read(tmp_path / split / "test.parquet")
        assert {row["extra_info"]["question"].split()[0] for row in test} == {split}
        assert {row["data_source"] for row in test} == {"my/set"}
        assert len(test) == (10 if options else 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["qa.jsonl"], "qa.jsonl needs --question COLUMN and --answer COLUMN"),
        (["a/b", "--question", "q"], "a/b needs --question COLUMN and --answer COLUMN"),
        (["gsm8k", "--question", "q"], "--question and --answer are for a FILE or ORG/NAME, not for gsm8k"),
        (["gsm8k", "math"], "expected one data set, got gsm8k math"),
        (["a.jsonl", *COLUMNS], "a.jsonl: there is no such file"),
        (["a.jsonl", "b.jsonl", "c.jsonl", *COLUMNS], "expected one FILE or two, or one ORG/NAME, got a.jsonl b.jsonl"),
        (["a/b", "--local", "c.jsonl", *COLUMNS], "expected one FILE or two, or one ORG/NAME, got a/b c.jsonl"),
        (["a/b", *COLUMNS, "--split", "dev=dev"], "--split takes train=... test=..., got dev=dev"),
        (["a/b", *COLUMNS, "--split", "test"], "--split takes train=... test=..., got test"),
        (["a.jsonl", *COLUMNS, "--test-size", "1.5"], "expected a number of rows, or a share below 1"),
        (["reasoning_gym:gcd", "--test-size", "0.1"], "--test-size of reasoning_gym:gcd must be a number of problems"),
    ],
)
def test_wrong_arguments_for_own_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(["prepare", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert expected in capsys.readouterr().err


# ---- malformed rows ----

BAD = {
    "gsm8k": [
        {"question": "  ", "answer": "#### 1"},
        {"question": "q", "answer": None},
        {"question": "q", "answer": "7"},
    ],
    "math": [{"problem": "p", "solution": "no box"}, {"problem": None, "solution": r"\boxed{1}"}],
    "math500": [{"problem": "p", "answer": ""}, {"problem": "", "answer": "1"}],
    "aime24": [{"problem": "p", "answer": None}, {"problem": "p", "answer": "12.5"}],
    "dapo_math": [
        {"prompt": [{"role": "user", "content": "2+2?"}], "reward_model": {"ground_truth": "4", "style": "rule"}},
        {"prompt": [], "reward_model": {"ground_truth": "4", "style": "rule"}},
        {"prompt": None, "reward_model": {"ground_truth": "4", "style": "rule"}},
        samples(SAMPLES / "dapo_math.jsonl")[0] | {"reward_model": {"ground_truth": None, "style": "rule"}},
        samples(SAMPLES / "dapo_math.jsonl")[0] | {"reward_model": None},
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_rows(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str], name: str) -> None:
    split = "train" if "train" in SOURCES[name].splits else "test"
    good = samples(sample_files(name)[split])[:2]
    columns = SOURCES[name].columns
    rows = [{key: row[key] for key in columns} for row in [*good, *BAD[name], *BAD[name]]]
    local = sample_files(name) | {split: write("bad.jsonl", rows)}
    count = 2 * len(BAD[name])

    assert run(name, tmp_path / "out", local=local) == 1
    said = capsys.readouterr().err
    assert f"{name}/{split} has {count} malformed rows of {count + 2}" in said
    rows = re.findall(rf"{tmp_path}/bad.jsonl, row (\d+):", said)
    assert list(map(int, rows)) == list(range(2, 2 + min(count, 5)))
    assert ("..." in said.splitlines()[-2]) == (count > 5)
    assert "--skip-bad-rows" in said

    assert run(name, tmp_path / "out", "--skip-bad-rows", local=local) == 0
    assert f"2 of {count + 2} rows, {count} malformed" in capsys.readouterr().out
    assert len(read(tmp_path / f"out/{split}.parquet")) == 2
    assert manifest(tmp_path / "out")["files"][f"{split}.parquet"]["bad"] == count


# ---- the hub ----


def test_the_hub_is_asked_for_the_right_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(path: str, name: str, *, split: str, revision: str) -> datasets.Dataset:
        asked.append((path, name, split, revision))
        return datasets.Dataset.from_list(gsm8k_rows(*(f"{split} {i}" for i in "abc")))

    def dataset_info(self: object, repo_id: str, timeout: float) -> SimpleNamespace:
        return SimpleNamespace(sha=f"revision of {repo_id}")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
    arguments = ["prepare", "gsm8k", "--out", str(tmp_path)]
    assert main(arguments) == 0
    revision = "revision of openai/gsm8k"
    assert asked == [("openai/gsm8k", "main", split, revision) for split in ("test", "train")]
    assert manifest(tmp_path)["revision"] == revision
    assert len(read(tmp_path / "train.parquet")) == 3
    assert main(arguments) == 0
    assert len(asked) == 2


@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_an_unreachable_hub_is_said_at_once(
    tmp_path: Path, run_fresh_python: RunPython, environment: dict[str, str]
) -> None:
    code = (
        "import sys, time; from verl_maxpo.cli import main; start = time.monotonic(); "
        f"code = main(['prepare', 'math500', '--out', {str(tmp_path / 'out')!r}]); "
        "sys.exit(code if time.monotonic() - start < 10 else 'too slow')"
    )
    done = run_fresh_python(code, HF_HOME=str(tmp_path), **environment)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "HuggingFaceH4/MATH-500 (configuration default) cannot be loaded from the Hugging Face hub" in done.stderr


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(DataError, match=r"cannot be loaded from the Hugging Face hub: .*Timeout"):
            hub_revision(SOURCES["aime25"], timeout=0.3)
    assert time.monotonic() - start < 5


# ---- size, and verl ----


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM")
def test_memory_stays_flat(tmp_path: Path, run_fresh_python: RunPython) -> None:
    def peak(name: str, rows: int) -> int:
        # Few distinct problems with long solutions, as in DAPO-Math-17k.
        line = '{"problem": "Problem %d", "solution": "' + "x" * 2000 + '", "answer": "1"}\n'
        file = tmp_path / name
        with file.open("w") as lines:
            lines.writelines(line % (i % 1000) for i in range(rows))
        done = run_fresh_python(
            "from verl_maxpo.cli import main; import re; "
            f"assert main(['prepare', 'math500', '--out', {f'{file}.out'!r}, '--local', {f'test={file}'!r}]) == 0; "
            "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1]) // 1024

    small, large = peak("small.jsonl", 10_000), peak("large.jsonl", 200_000)  # 20 MB and 400 MB
    assert large < small + 100, (small, large)


@pytest.mark.slow
def test_verl_reads_several_sets_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("verl")
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples/quickstart"))
    from prepare import make_tokenizer

    for name in ("gsm8k", "dapo_math"):
        assert run(name, tmp_path / name) == 0
    task = ["prepare", "reasoning_gym:chain_sum", "--size", "8", "--test-size", "4", "--out", str(tmp_path / "task")]
    assert main(task) == 0
    files = [str(tmp_path / name / "train.parquet") for name in ("gsm8k", "dapo_math", "task")]
    config = OmegaConf.create({"max_prompt_length": 10_000, "filter_overlong_prompts_workers": None})
    dataset = RLHFDataset(files, make_tokenizer(), config)
    assert len(dataset) == 24 + 16 + 8
    batch = collate_fn([dataset[i] for i in (0, 30, 47)])
    assert list(batch["data_source"]) == ["openai/gsm8k", "math_dapo", "reasoning_gym/chain_sum"]
    assert batch["extra_info"][2]["task"] == "chain_sum"
    assert all(messages[0]["role"] == "user" for messages in batch["raw_prompt"])
