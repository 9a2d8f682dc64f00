"""examples/pytorch/train.py: every estimator trains, and a run goes on where it was stopped."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from support.quickstart import prepare
from support.reproduction import tasks, train

from verl_maxpo import grouped_max_at_k_advantages

REWARDS = torch.tensor([[0, 0, 1, 0, 1, 0, 0, 0], [0] * 8, [1] * 8, [1, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start")
    tokenizer = prepare.make_tokenizer("hidden_digit")
    prepare.make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trainer(start: Path, out: Path, *options: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a trainer that has the options, from the command line."""
    command = ["train.py", "--model", str(start), "--out", str(out), "--prompts", "2", *options]
    monkeypatch.setattr(sys, "argv", command)
    runs: list[Any] = []
    monkeypatch.setattr(train.Trainer, "run", lambda self: runs.append(self))
    train.main()
    return runs[0]


@pytest.mark.parametrize(("size", "parameters"), [("335k", 335_000), ("30M", 30e6)])
def test_sizes_are_what_they_are_called(size: str, parameters: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "DEVICE", "meta")
    with torch.device("meta"):  # shapes without weights
        model = prepare.make_model(prepare.make_tokenizer("hidden_digit"), prepare.SIZES[size])
    assert model.num_parameters() == pytest.approx(parameters, rel=0.03)


@pytest.mark.parametrize(
    "options",
    [
        "--estimator grpo --entropy .01 --kl .1 --temperature 1.2",
        "--estimator rloo --task hidden_digit",
        "--k 4 --task hidden_digit",
        "--k all",
        "--k 1 4 --task closest",
        "--k 4 --then-k 1 --switch-step 1",
        "--estimator loo_minus_one --k 3",
        "--estimator loo --k 2",
        "--k 4 --task hidden_digit --select-by judge",
        "--k 4 --task hidden_digit --select-by vote --length 40",
    ],
)
def test_every_estimator_trains(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    run = trainer(start, tmp_path, *options.split(), monkeypatch=monkeypatch)
    turns = cycle([0.0, 0.0, 1.0])
    monkeypatch.setattr(run, "worth", lambda problem, answer: next(turns))  # some are right
    run.task = replace(run.task, answer=lambda problem, answer: answer)  # and those that no problem allows vote too
    before = [parameter.clone() for parameter in run.policy.model.parameters()]
    results = [run.update() for _ in range(2)]
    assert all(0 < result["reward"] < 1 and result["signal"] > 0 for result in results)
    changes = [(now - then).abs().max() for now, then in zip(run.policy.model.parameters(), before, strict=True)]
    assert all(0 < change < 1e-3 for change in changes)


@pytest.mark.parametrize("estimator", ["l2o", "loo_minus_one", "loo", "none"])
@pytest.mark.parametrize("k", [["2"], ["1", "4"]])
def test_advantages_are_those_of_the_functional_api(estimator: str, k: list[str]) -> None:
    ids = torch.arange(4).repeat_interleave(8)
    expected = grouped_max_at_k_advantages(REWARDS.flatten(), ids, [int(one) for one in k], baseline=estimator)
    assert torch.equal(train.advantages(REWARDS, estimator, k).flatten(), expected)


def test_k_1_is_rloo_and_all_is_maxrl() -> None:
    torch.testing.assert_close(train.advantages(REWARDS, "l2o", ["1"]), train.advantages(REWARDS, "rloo", []))
    mean = REWARDS.mean(dim=1, keepdim=True)
    torch.testing.assert_close(train.advantages(REWARDS, "l2o", ["all"]), (REWARDS - mean) / mean.clamp(min=1e-9))


def test_grpo_is_verls() -> None:
    core_algos = pytest.importorskip("verl.trainer.ppo.core_algos")
    ids = torch.arange(4).repeat_interleave(8).numpy().astype(str).astype(object)
    rewards, mask = REWARDS.flatten()[:, None].float(), torch.ones(32, 1)
    expected, _ = core_algos.compute_grpo_outcome_advantage(rewards, mask, ids)
    torch.testing.assert_close(train.advantages(REWARDS.float(), "grpo", []).flatten(), expected[:, 0])


def test_a_judge_does_not_change_the_prompts(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [trainer(start, tmp_path, "--select-by", by, monkeypatch=monkeypatch) for by in ("judge", "reward")]
    for run in runs:
        run.update()
    assert runs[0].rng.getstate() == runs[1].rng.getstate()


def kept_by_judge(subset: list[tuple[int, bool, float]]) -> float:
    """Return the mean reward of those with the largest score, a reward and the bias for a product."""
    scores = [reward + train.JUDGE_BIAS * liked for _, liked, reward in subset]
    kept = [reward for score, (*_, reward) in zip(scores, subset, strict=True) if score == max(scores)]
    return sum(kept) / len(kept)


def kept_by_vote(subset: list[tuple[int, bool, float]]) -> float:
    """Return the mean reward of the values that most have."""
    rewards = {value: reward for value, _, reward in subset}
    counts = Counter(value for value, *_ in subset)
    winners = [rewards[value] for value, count in counts.items() if count == max(counts.values())]
    return sum(winners) / len(winners)


@pytest.mark.parametrize(("by", "name", "kept"), [("judge", "selected", kept_by_judge), ("vote", "maj", kept_by_vote)])
def test_what_is_deployed_is_the_mean_over_all_subsets_and_targets(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, name: str, kept: Any
) -> None:
    options = ["--task", "hidden_digit", "--deployed", by, "--samples", "8"]
    run = trainer(start, tmp_path, *options, monkeypatch=monkeypatch)
    monkeypatch.setattr(train, "JUDGE_NOISE", 0)  # ties are what is left
    run.task = replace(run.task, held_out=run.task.held_out[:3])
    texts, expected = [], []
    for question in run.task.held_out:
        values = tasks.countdown.expressions(question[0].digits)
        mine = [one.solution for one in question[:3]] * 2 + [text for text in values if "*" in text][:2]
        texts += mine
        total = 0.0
        for problem, weight in zip(question, tasks.countdown.likelihoods(question), strict=True):
            given = [(values[text], "*" in text, float(values[text] == problem.target)) for text in mine]
            subsets = [kept(list(subset)) for subset in combinations(given, 4)]
            total += weight * sum(subsets) / len(subsets)
        expected.append(total)
    monkeypatch.setattr(run, "answers", lambda *_: (None, texts))
    found = run.evaluate()["deployed"]
    assert found[f"{name}@4"] == pytest.approx(expected, abs=1e-4)
    assert len(found[f"{name}@8"]) == 3
    assert min(expected) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--task maze --select-by judge", "--task maze has no judge: countdown"),
        ("--task maze --deployed judge", "--task maze has no judge"),
        ("--select-by vote --estimator grpo", "--select-by vote needs --estimator l2o, got grpo"),
        ("--start-log nowhere.jsonl", "--start-log nowhere.jsonl is not there: give the log"),
    ],
)
def test_options_that_cannot_work_are_refused(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    monkeypatch.setattr(train.Policy, "check", lambda self, problem: None)
    with pytest.raises(SystemExit, match=message):
        trainer(start, tmp_path, *options.split(), monkeypatch=monkeypatch)


def test_tokens_after_the_end_do_not_count(start: Path) -> None:
    policy = train.Policy(str(start))
    end = policy.end
    responses = torch.tensor([[5, end, 6, end], [end, 5, 5, 5], [5, 6, 7, 8]])
    assert policy.mask(responses).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]


def log_of(start: Path, out: Path, *options: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the command line on hidden digit and return the lines of the log."""
    command = ["train.py", "--model", str(start), "--out", str(out), "--prompts", "2", "--task", "hidden_digit"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [*command, *options])
        train.main()
    return (out / "log.jsonl").read_text().splitlines()


def test_a_run_goes_on_where_it_was_stopped(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = []
    for name, stops in [("whole", [4]), ("stopped", [2, 4])]:
        for steps in stops:
            options = ["--steps", str(steps), "--eval-every", "2", "--samples", "2"]
            lines = [json.loads(line) for line in log_of(start, tmp_path / name, *options, monkeypatch=monkeypatch)]
        logs.append([{key: line[key] for key in ("step", "successes")} for line in lines[1:]])
    assert [line["step"] for line in logs[0]] == [0, 2, 4]
    assert logs[0] == logs[1]


def test_a_start_is_evaluated_once_for_all_runs(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(seed: int, *options: str) -> list[str]:
        options = ("--steps", "1", "--eval-every", "1", "--seed", str(seed), *options)
        return log_of(start, tmp_path / str(seed), *options, monkeypatch=monkeypatch)

    settings, evaluation, *_ = run(0, "--samples", "2")
    log = tmp_path / "0" / "log.jsonl"
    log.write_text("\n".join([settings, evaluation.replace('"step"', '"from": "one", "step"')]))
    assert '"from": "one"' in run(1, "--samples", "2", "--start-log", str(log))[1]
    assert '"from": "one"' not in run(2, "--samples", "3", "--start-log", str(log))[1]
