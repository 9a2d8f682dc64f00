"""The quickstart's task and starting point."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support.quickstart import countdown, measured, prepare
from transformers import AutoModelForCausalLM, AutoTokenizer

from verl_maxpo.evaluate.comparison import compare
from verl_maxpo.evaluate.dumps import read_runs
from verl_maxpo.rewards.verifiers.countdown import verify

STARTS = json.loads((prepare.START / "starts.json").read_text())


@pytest.mark.parametrize("digits", ["1234", "4889", "9999"])
def test_expressions_have_pythons_values(digits: str) -> None:
    values = countdown.expressions(digits)
    assert values == {expression: eval(expression) for expression in values}
    assert all("".join(sorted(filter(str.isdigit, expression))) == digits for expression in values)


def test_problems_are_split_without_overlap() -> None:
    train, test = countdown.problems()
    assert (len(train), len(test)) == (7827, 300)
    assert not set(train) & set(test)
    assert (train, test) == countdown.problems()


@pytest.mark.parametrize(
    ("response", "correct", "format_ok"),
    [("8-4+8+9", 1, 1), ("8+4+8+9", 0, 1), ("9*8-4-8", 0, 1), ("", 0, 0), ("21", 0, 0), ("8-4+8+8", 0, 0),
     ("8-4+8+9" * 1000, 0, 0), ("__import__('os').abort()", 0, 0)],
)  # fmt: skip
def test_the_verifier_scores_the_task(response: str, correct: int, format_ok: int) -> None:
    result = verify(response, countdown.Problem("4889", 21).ground_truth, {}, bare=True)
    assert (result.score, result.correct, result.format_ok) == (correct, correct, format_ok)


def test_tokenizer_has_one_token_for_each_character() -> None:
    tokenizer = prepare.make_tokenizer()
    problem = countdown.Problem("4889", 21)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": problem.prompt}], return_dict=False)
    assert len(ids) == len(problem.prompt) == 8
    assert tokenizer.decode(ids) == problem.prompt
    assert tokenizer.eos_token == "<|im_end|>"


def test_data_has_verls_schema(tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    prepare.save_problems(file, "test", countdown.problems()[1])
    row = pd.read_parquet(file).iloc[5]
    assert row.data_source == "countdown4"
    problem = countdown.problems()[1][5]
    assert row.prompt[0] == {"role": "user", "content": problem.prompt}
    assert row.reward_model["ground_truth"] == problem.ground_truth
    assert row.extra_info == {"index": 5, "split": "test", "solution": problem.solution}
    assert verify(problem.solution, problem.ground_truth, {}, bare=True).correct


def test_a_hidden_digit_leaves_the_target_open() -> None:
    train, test = countdown.questions("hidden_digit")
    assert (len(train), len(test)) == (552, 300)
    assert not {question[0].prompt for question in train} & {question[0].prompt for question in test}
    for question in test:
        assert {problem.prompt for problem in question} == {f"{question[0].digits}:{question[0].target // 10}?="}
        assert len(question) >= 4
        assert all(verify(p.solution, p.ground_truth, {}, bare=True).correct for p in question)
    assert countdown.likelihoods(test[0])[:2] == [2 * weight for weight in countdown.likelihoods(test[0])[1:3]]
    rng = random.Random(0)
    drawn = [countdown.draw_problem(test[0], rng) for _ in range(2000)]
    assert drawn.count(test[0][0]) / 2000 == pytest.approx(countdown.likelihoods(test[0])[0], abs=0.04)


def test_rows_of_a_hidden_digit_are_draws_of_every_prompt() -> None:
    train, _ = countdown.questions("hidden_digit")
    rows = prepare.draw_rows(train, 2 * len(train))
    prompts = [row.prompt for row in rows]
    assert sorted(prompts[: len(train)]) == sorted(prompts[len(train) :]) == sorted(q[0].prompt for q in train)
    assert set(prompts[0]) <= set(prepare.make_tokenizer("hidden_digit").get_vocab())


def test_every_starting_model_is_listed() -> None:
    assert {folder.name for folder in prepare.START.iterdir() if folder.is_dir()} == set(STARTS)
    assert sum(file.stat().st_size for file in prepare.START.rglob("*.safetensors")) < 8e6


@pytest.mark.parametrize("name", STARTS)
def test_starting_models_are_the_ones_that_were_made(name: str) -> None:
    weights = prepare.START / name / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == STARTS[name]["sha256"]
    task, size, seed = name.rsplit("-", 2)
    assert f" --seed {seed.removeprefix('seed')} " in STARTS[name]["command"]
    model = AutoModelForCausalLM.from_pretrained(weights.parent)
    if task not in countdown.TASKS:
        return
    assert f" --task {task} " in STARTS[name]["command"]
    assert (
        model.num_parameters() == prepare.make_model(prepare.make_tokenizer(task), prepare.SIZES[size]).num_parameters()
    )
    tokenizer = AutoTokenizer.from_pretrained(weights.parent)
    assert tokenizer.get_vocab() == prepare.make_tokenizer(task).get_vocab()


@pytest.mark.parametrize(
    ("options", "copied"),
    [((), "countdown-335k-seed0"), (("--task", "hidden_digit", "--seed", "1"), "hidden_digit-335k-seed1")],
)
def test_prepare_copies_the_starting_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], copied: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--out", str(tmp_path), *options])
    prepare.main()
    assert (tmp_path / "model/model.safetensors").read_bytes() == (
        prepare.START / copied / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("options", [("--seed", "2"), ("--make",)])
def test_prepare_trains_what_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr(prepare, "STEPS", 1)
    monkeypatch.setattr(prepare, "BATCH_SIZE", 2)
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--out", str(tmp_path), *options])
    prepare.main()
    weights = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    shipped = AutoModelForCausalLM.from_pretrained(prepare.START / "countdown-335k-seed0").state_dict()
    assert not torch.equal(weights["model.norm.weight"], shipped["model.norm.weight"])


def finished_run(folder: Path, correct: dict[int, list[int]], samples: int = 4) -> Path:
    """Write what verl leaves of a run: for each step, the right samples of the first prompts of test.parquet."""
    (folder / "validation").mkdir(parents=True)
    (folder / "settings").write_text("MODEL=/somewhere\nTASK=hidden_digit\nESTIMATOR=grpo\nN=16\nSEED=0\n")
    (folder / "metrics-1.jsonl").write_text(json.dumps({"step": 1, "data": {"timing_s/step": 2.5}}))
    (folder / "finished").touch()
    for step, counts in correct.items():
        rows = [
            {"input": prompt, "acc": float(i < count)}
            for prompt, count in zip(measured.held_out("hidden_digit"), counts, strict=False)
            for i in range(samples)
        ]
        (folder / "validation" / f"{step}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_what_is_kept_of_a_run_evaluates_to_the_same(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "grpo-n16-lr1e-4-seed0", {0: [0, 1, 4], 45: [2, 2, 3]})
    line = json.loads(json.dumps(measured.line_of(run)))
    assert "MODEL" not in line["settings"]
    assert line["validations"][1]["correct"] == "223" + "." * 297
    assert measured.values(line["validations"][0], 2).tolist() == [0, 0.5, 1]
    again = measured.write_dumps(line, tmp_path)
    assert again.name == "grpo-n16-lr1e-4-measured-before-seed0"
    estimates = compare(read_runs([again]), ks=[1, 2]).estimates
    assert {(one.step, one.k): one.value for one in estimates if one.metric == "pass@k"} == {
        (0, 1): pytest.approx(5 / 12),
        (0, 2): pytest.approx(1.5 / 3),
        (45, 1): pytest.approx(7 / 12),
        (45, 2): pytest.approx((5 / 6 + 5 / 6 + 1) / 3),
    }


def test_a_dump_with_prompts_of_another_task_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", {0: [0, 1]})
    with pytest.raises(SystemExit, match=r"of each prompt of test\.parquet"):
        measured.count_correct(run / "validation" / "0.jsonl", "countdown")


KEPT = [line for line in measured.read_results() if line["settings"]["ESTIMATOR"] == "maxpo"]


@pytest.mark.parametrize("line", KEPT, ids=lambda line: line["run"])
def test_every_kept_run_of_maxpo_shows_the_effect(line: dict[str, Any]) -> None:
    assert measured.gain(line, 4)[0] > 0


def test_the_readme_has_the_results() -> None:
    text = measured.README.read_text()
    assert measured.read_results()[0]["run"] in text
    assert measured.filled(text) == text, "run `python examples/quickstart/measured.py --add`"
