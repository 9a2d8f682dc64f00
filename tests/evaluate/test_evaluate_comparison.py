"""Comparisons of runs, their reports and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from verl_maxpo import pass_at_k
from verl_maxpo.cli import main
from verl_maxpo.evaluate.comparison import compare
from verl_maxpo.evaluate.dumps import read_runs
from verl_maxpo.evaluate.estimates import mean_interval, paired_proportion_interval, proportion_interval
from verl_maxpo.evaluate.results import G_PASS, METRICS, Comparison
from verl_maxpo.evaluate.tables import tables


def write_dump(run: Path, step: int, correct: dict[str, int], n: int = 4, **fields: Any) -> Path:
    """Write a validation dump in which each problem is solved so many times of n."""
    (run / "validation").mkdir(parents=True, exist_ok=True)
    rows = [
        {"input": name, "output": "", "score": float(j < c), "acc": float(j < c), "step": step} | fields
        for name, c in correct.items()
        for j in range(n)
    ]
    (run / "validation" / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def comparison_of(*runs: Path, ks: list[int] | None = None) -> Comparison:
    return compare(read_runs(list(runs)), ks)


def only(rows: list[Any], **fields: Any) -> Any:
    [row] = [row for row in rows if all(getattr(row, name) == value for name, value in fields.items())]
    return row


def test_estimates_of_a_run(tmp_path: Path) -> None:
    result = comparison_of(write_dump(tmp_path / "a", 3, {"p": 0, "q": 1, "r": 4}))
    assert result.ks == [1, 2, 4]
    for k in result.ks:
        row = only(result.estimates, metric="pass@k", k=k)
        values = np.asarray(pass_at_k([4, 4, 4], [0, 1, 4], k))
        assert (row.run, row.step, row.prompts, row.too_few) == ("a", 3, 3, 0)
        assert row.value == pytest.approx(values.mean())
        assert row.interval == pytest.approx(proportion_interval(values))
    coverage = only(result.coverage, run="a")
    assert coverage.never_solved == pytest.approx(1 / 3)
    assert [(problem.n, problem.successes) for problem in coverage.problems] == [(4, 0), (4, 1), (4, 4)]
    assert {row.metric for row in result.estimates} == {"pass@k", "pass^k", *G_PASS}  # max@k would be the same
    assert result.notes == []


def test_seeds_are_averaged(tmp_path: Path) -> None:
    runs = [write_dump(tmp_path / f"a-seed{seed}", 1, {"p": c, "q": 0}) for seed, c in enumerate([1, 2, 4])]
    row = only(comparison_of(*runs).averages, metric="pass@k", k=1)
    assert (row.label, row.seeds) == ("a", 3)
    assert row.interval == pytest.approx(
        proportion_interval(np.array([(1 + 2 + 4) / 12, 0]))
    )  # of each prompt's mean over seeds
    assert row.value == pytest.approx(np.mean([1, 2, 4]) / 8)
    assert row.std == pytest.approx(np.std([1, 2, 4], ddof=1) / 8)


def test_differences_are_paired_by_prompt(tmp_path: Path) -> None:
    reference = write_dump(tmp_path / "a", 1, {"p": 0, "q": 1, "r": 4, "only here": 4})
    candidate = write_dump(tmp_path / "b", 1, {"r": 4, "new": 0, "other": 0, "q": 0, "p": 2})
    result = comparison_of(reference, candidate)
    row = only(result.differences, metric="pass@k", k=1)
    assert (row.candidate.label, row.reference.label, row.prompts, row.std) == ("b", "a", 3, None)
    assert row.value == pytest.approx((2 / 4 - 1 / 4 + 0) / 3)
    assert row.interval == pytest.approx(paired_proportion_interval(np.array([2 / 4, -1 / 4, 0])))
    [matching] = result.matchings
    assert (matching.matched, matching.unmatched) == (3, 3)
    assert matching.only_candidate == pytest.approx(1 / 3)
    assert matching.only_reference == pytest.approx(1 / 3)


def test_differences_are_between_runs_of_the_same_seed(tmp_path: Path) -> None:
    """Seeds may have drawn other prompts; a prompt that two seeds share counts once."""
    write_dump(tmp_path / "a-seed0", 1, {"p": 0, "q": 0})
    write_dump(tmp_path / "a-seed1", 1, {"q": 2, "r": 1})
    write_dump(tmp_path / "b-seed0", 1, {"p": 1, "q": 4})
    write_dump(tmp_path / "b-seed1", 1, {"q": 2, "r": 2})
    write_dump(tmp_path / "b-seed2", 1, {"s": 4})
    result = comparison_of(*sorted(tmp_path.iterdir()))
    row = only(result.differences, k=1, metric="pass@k")
    assert row.prompts == 3
    assert row.value == pytest.approx((1 / 4 + (4 / 4 + 0) / 2 + 1 / 4) / 3)
    assert row.std == pytest.approx(np.std([(1 + 4) / 8, 1 / 8], ddof=1))
    assert result.matchings[0].only_candidate == pytest.approx((1 + 0) / 2)


def test_runs_without_a_common_seed_are_compared_each_with_each(tmp_path: Path) -> None:
    runs = [write_dump(tmp_path / name, 1, {"p": c}) for name, c in [("a-seed0", 1), ("a-seed1", 3), ("b", 4)]]
    row = only(comparison_of(*runs).differences, k=1, metric="pass@k")
    assert row.value == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert row.std is None


def test_problems_are_listed_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verl_maxpo.evaluate.comparison.MAX_LISTED_PROBLEMS", 3)
    runs = [write_dump(tmp_path / name, 1, {"p": 0, "q": 1}) for name in "ab"]
    result = comparison_of(*runs)
    assert [row.problems is None for row in result.coverage] == [False, True]
    assert result.notes == ["the JSON lists at most 3 problems one by one: some evaluations have no such list"]


def test_steps_are_compared_with_the_first_and_runs_at_their_last_common_one(tmp_path: Path) -> None:
    for step in (0, 10, 20):
        write_dump(tmp_path / "a", step, {"p": step // 10})
    for step in (10, 30):
        write_dump(tmp_path / "b", step, {"p": 4})
    result = comparison_of(tmp_path / "a", tmp_path / "b", ks=[1])
    sides = [(row.candidate.label, row.candidate.step, row.reference.step) for row in result.matchings]
    assert sides == [("a", 20, 0), ("b", 30, 10), ("b", 10, 10)]
    assert [row.value for row in result.differences if row.metric == "pass@k"] == [0.5, 0, 0.75]


def test_runs_without_a_common_step_say_so(tmp_path: Path) -> None:
    result = comparison_of(write_dump(tmp_path / "a", 1, {"p": 0}), write_dump(tmp_path / "b", 2, {"p": 0}))
    assert result.differences == []
    assert result.notes == ["all: a and b have no step in common and are not compared"]


def test_prompts_with_too_few_samples_are_counted(tmp_path: Path) -> None:
    run = write_dump(tmp_path / "a", 5, {"p": 4, "q": 0, "r": 0})
    with (run / "validation" / "5.jsonl").open("a") as dump:
        dump.write('{"input": "s", "score": 1, "acc": 1}\n')
    result = comparison_of(run, ks=[1, 4, 8])
    row = only(result.estimates, metric="pass@k", k=4)
    assert (row.value, row.prompts, row.too_few) == (pytest.approx(1 / 3), 3, 1)
    assert result.notes == [
        "a, all: 1 of 4 prompts have fewer samples than the others, 1 instead of 4 at step 5: verl's dumps lack "
        "sessions that failed",
        "a, all: 1 of 4 prompts have fewer than 4 samples and do not count for k=4 at step 5",
        "no prompt has 8 samples: nothing is shown for k=8",
    ]


def test_missing_samples_are_wrong_where_n_is_given(tmp_path: Path) -> None:
    """As if they were in the dump with a score of 0, except for max@k."""
    whole = write_dump(tmp_path / "whole", 5, {"p": 1, "q": 0}, pred="7", score=2.0)
    run = write_dump(tmp_path / "a", 5, {"p": 1}, n=2, pred="7", score=2.0)
    with (run / "validation" / "5.jsonl").open("a") as dump:
        dump.writelines((whole / "validation" / "5.jsonl").read_text().splitlines(keepends=True)[4:])
    result = compare(read_runs([run]), None, 4)
    assert result.ks == [1, 2, 4]
    assert only(result.estimates, metric="pass@k", k=1).value == pytest.approx(1 / 8)
    assert only(result.estimates, metric="pass@k", k=4).value == pytest.approx(1 / 2)
    # Of p's samples one is right and one wrong with the same answer; the two that are missing do not vote.
    assert only(result.estimates, metric="maj@k", k=4).value == pytest.approx(0.5 / 2)
    assert only(result.estimates, metric="max@k", k=4).prompts == 1
    assert result.notes[0].startswith("a, all: 2 of 8 samples are missing at step 5, from 1 prompts: they count")


def test_duplicated_prompts_are_said(tmp_path: Path) -> None:
    run = write_dump(tmp_path / "a", 5, {"p": 1, "q": 0, "r": 0}, data_source="x")
    lines = (run / "validation" / "5.jsonl").read_text()
    again = "".join(lines.splitlines(keepends=True)[:4])
    (run / "validation" / "5.jsonl").write_text(lines + again + again.replace('"x"', '"y"'))
    assert comparison_of(run).notes == [
        "a, x: 1 of 3 prompts have more samples than they should, 8 instead of 4 at step 5: without a uid, a "
        "problem that appears twice in the data set is one prompt here",
        "a: 1 prompts are in several data sources (x, y) and count in each",
    ]


def test_scores_beside_correctness_have_max_at_k_too(tmp_path: Path) -> None:
    result = comparison_of(write_dump(tmp_path / "a", 1, {"p": 1, "q": 2}, score=2.5))
    assert {row.metric for row in result.estimates} == {"pass@k", "pass^k", *G_PASS, "max@k"}
    assert only(result.estimates, metric="max@k", k=2).value == 2.5


def test_all_steps_have_the_same_metrics(tmp_path: Path) -> None:
    """At the first step, scores and correctness happen to be the same."""
    write_dump(tmp_path / "a", 0, {"p": 0}, score=0)
    result = comparison_of(write_dump(tmp_path / "a", 1, {"p": 2}, score=0.5))
    assert [row.step for row in result.estimates if (row.metric, row.k) == ("max@k", 1)] == [0, 1]
    assert only(result.differences, metric="max@k", k=1).value == 0.5


@pytest.mark.parametrize(
    ("fields", "metrics", "note"),
    [
        ({"acc": None}, {"pass@k", "pass^k", *G_PASS}, None),
        ({"acc": None, "score": 0.5}, {"max@k"}, None),
        ({"acc": 0.5, "score": 2}, {"max@k"}, "`acc` is neither 0 nor 1 in 4 of 4 samples, so only max@k is shown"),
        (
            {"acc": 0.5},
            {"pass@k", "pass^k", *G_PASS},
            "`acc` is neither 0 nor 1 in 4 of 4 samples, so `score`, which is 0 or 1,",
        ),
    ],
)
def test_what_says_that_a_sample_is_correct(
    tmp_path: Path, fields: dict[str, Any], metrics: set[str], note: str | None
) -> None:
    result = comparison_of(write_dump(tmp_path / "a", 1, {"p": 1}, **fields))
    assert {row.metric for row in result.estimates} == metrics
    assert (note in result.notes[0]) if note else result.notes == []


def test_missing_acc_is_said(tmp_path: Path) -> None:
    write_dump(tmp_path / "a", 1, {"p": 1})
    write_dump(tmp_path / "a", 2, {"p": 1}, acc=None)
    [note] = comparison_of(tmp_path / "a").notes
    assert note.startswith("all: `acc` is missing from 4 of 8 samples, so `score`")


def test_majority_votes_need_an_answer_on_every_line(tmp_path: Path) -> None:
    run = write_dump(tmp_path / "a", 1, {"p": 2, "q": 4}, pred="7")
    assert only(comparison_of(run).estimates, metric="maj@k", k=4).value == pytest.approx((0.5 + 1) / 2)
    write_dump(run, 2, {"p": 2})
    result = comparison_of(run)
    assert "maj@k" not in {row.metric for row in result.estimates}
    assert result.notes == ["all: 4 of 12 samples have no column `answer` or `pred`: no maj@k is shown"]


def test_data_sources_stand_apart(tmp_path: Path) -> None:
    run = write_dump(tmp_path / "a", 1, {"p": 4}, data_source="aime")
    (run / "validation" / "1.jsonl").rename(run / "validation" / "x.jsonl")
    write_dump(run, 1, {"p": 0.0}, data_source="gsm8k", score=7)
    result = comparison_of(run)
    assert only(result.estimates, data_source="aime", k=1, metric="pass@k").value == 1
    assert only(result.estimates, data_source="gsm8k", k=1, metric="max@k").value == 7
    titles = ["aime: pass@k", "aime: pass^k", "gsm8k: pass@k", "gsm8k: max@k", "gsm8k: pass^k"]
    assert [table.title for table in tables(result, metrics=["pass@k", "max@k", "pass^k"])] == titles
    assert [table.title for table in tables(result, metrics=["max@k"])] == ["gsm8k: max@k"]
    assert [table.title for table in tables(result, metrics=["pass@k"], sources=["aime"])] == ["aime: pass@k"]


def test_command_line(tmp_path: Path) -> None:
    for seed, last in enumerate([4, 0]):
        write_dump(tmp_path / f"maxpo-seed{seed}", 0, {"p": 0, "q": 1}, n=16)
        write_dump(tmp_path / f"maxpo-seed{seed}", 10, {"p": 16, "q": last}, n=16)
    (tmp_path / "maxpo-seed1" / "validation" / "20.jsonl").write_text("{\n")
    command = [sys.executable, "-m", "verl_maxpo", "evaluate", *sorted(tmp_path.iterdir()), "--out", tmp_path / "out"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    first, last_step = (line for line in result.stdout.splitlines() if line.startswith(" maxpo  "))
    assert first.split() == ["maxpo", ".031", ".062", ".125", ".250", ".500"]
    pass_at = [np.mean(pass_at_k([16, 16, 16, 16], [16, 4, 16, 0], k)) for k in (1, 2, 4, 8, 16)]
    assert last_step.split() == ["maxpo", *(f"{value:.3f}"[1:] for value in pass_at)]
    assert all(text in result.stdout for text in ("step 10, 2 seeds", "2 × 16", ".500 unsolved", ".250 unsolved"))
    assert "± .088" in result.stdout  # pass@1: (1 + 1/4)/2 and 1/2
    assert f"warning: {tmp_path}/maxpo-seed1/validation/20.jsonl: 1 malformed lines left out (line 1:" in result.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        f"report.{suffix}" for suffix in ("html", "json", "md", "png")
    ]


def test_terminal_tables_fit_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the longest names, every metric, ten k and seeds; and nothing of a name or a number is lost."""
    names = ["maxpo-k8-n16-lr1.5e-4-a_long_tag_without_end", "算法" * 20]
    for name in names:
        for seed in (0, 1):
            write_dump(tmp_path / f"{name}-seed{seed}", 0, {"p": seed, "q": 1}, n=512, score=-1234.5, pred="7")
            write_dump(tmp_path / f"{name}-seed{seed}", 5, {"p": 3, "q": 400 + seed}, n=512, score=1.5, pred="7")
    assert main(["evaluate", *map(str, sorted(tmp_path.iterdir())), "--metrics", *METRICS, "--all-steps"]) == 0
    shown = capsys.readouterr().out
    assert max(map(cell_len, shown.splitlines())) <= 80
    assert all(f"pass@{2**i}" in shown for i in range(10))
    assert "-1234.500" in shown
    cells = "".join("".join(line[:26].split()) for line in shown.splitlines())
    assert all(name in cells for name in ("MaxPO,k=8,lr1.5e-4,a_long_tag_without_end", names[1]))
    assert main(["choose-k", str(tmp_path / f"{names[0]}-seed0" / "validation")]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_all_runs_are_compared_with_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At their last common step, or the last of both where there is none, as with the model before training."""
    runs = [write_dump(tmp_path / f"{name}-seed0", 7, {"p": c}) for name, c in [("a", 0), ("b", 1), ("c", 2)]]
    runs.append(write_dump(tmp_path / "base", 0, {"p": 1}))
    for reference, steps in [("b-seed0", {7}), ("b", {7}), ("base", {0})]:
        result = compare(read_runs(runs), [1], reference=reference)
        others = {"a", "b", "c", "base"} - {reference.removesuffix("-seed0")}
        assert {row.candidate.label for row in result.matchings} == others
        assert {row.reference.label for row in result.matchings} == {reference.removesuffix("-seed0")}
        assert {row.reference.step for row in result.matchings} == steps
    values = [row.value for row in result.differences if row.metric == "pass@k"]
    assert values == pytest.approx([-0.25, 0, 0.25])
    assert main(["evaluate", *map(str, runs), "--reference", "d"]) == 2
    assert "the reference 'd' is not one of the runs: a, b, c, base" in capsys.readouterr().err


def test_files_of_one_kind_are_those_of_the_report(tmp_path: Path) -> None:
    write_dump(tmp_path / "run", 0, {"p": 0, "q": 1}, n=4)
    files = [str(tmp_path / name) for name in ("a.json", "a.md")]
    options = ["--json", files[0], "--markdown", files[1], "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(tmp_path / "run"), *options]) == 0
    for file, name in zip(files, ["report.json", "report.md"], strict=True):
        assert Path(file).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_runs_below_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        write_dump(tmp_path / "outputs" / "model" / f"maxpo-seed{seed}", 1, {"p": 1})
    assert [run.name for run in read_runs([tmp_path / "outputs"])] == ["maxpo-seed0", "maxpo-seed1"]
    assert main(["evaluate", str(tmp_path / "outputs"), "--metrics", "pass^k", *G_PASS, "--k", "1"]) == 0
    shown = capsys.readouterr().out
    assert "pass^1" in shown
    assert "pass@1" not in shown


def test_a_k_that_nothing_has_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_dump(tmp_path / "a", 1, {"p": 1})
    assert main(["evaluate", str(run), "--k", "8", "16"]) == 2
    assert "no prompt has 8 samples: nothing is shown for k=8" in capsys.readouterr().err
    assert main(["choose-k", str(run / "validation"), "--k", "4"]) == 2
    assert "k=4 is not shown for n=4, as it needs k + 1 responses" in capsys.readouterr().err


def test_prompts_of_equal_text_count_apart(tmp_path: Path) -> None:
    """As verl's V1 trainer writes them; in the other run the uids are others, and the order."""
    for name, right in [("a", {"cat": 0, "dog": 1, "cow": 4}), ("b", {"cow": 4, "dog": 3, "cat": 0})]:
        run = write_dump(tmp_path / name, 1, {})
        rows = [
            {
                "uid": f"{name}{number:031x}_{i}_0",
                "input": "<image>",
                "gts": gold,
                "score": float(i < c),
                "output": str(i),
            }
            for number, (gold, c) in enumerate(right.items())
            for i in range(4)
        ]
        (run / "validation" / "1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = comparison_of(tmp_path / "a", tmp_path / "b")
    assert only(result.estimates, run="a", metric="pass@k", k=2).value == pytest.approx((0 + 0.5 + 1) / 3)
    row = only(result.differences, metric="pass@k", k=1)
    assert row.interval == pytest.approx(
        paired_proportion_interval(np.array([0, 0.5, 0]))
    )  # the same problems side by side
    assert result.notes == []


@pytest.mark.parametrize(
    ("others", "note"),
    [
        ({"b": (1, {"q": 1})}, "all: a and b share no prompt and are not compared"),
        ({"a": (2, {"q": 1})}, "all: steps 2 and 1 of a share no prompt and are not compared"),
        ({"b-seed0": (1, {"q": 1}), "b-seed1": (1, {"r": 1})}, "all: a and b share no prompt and are not compared"),
    ],
)
@pytest.mark.parametrize("reference", [None, "a"])
def test_sides_without_a_common_prompt_say_so(
    tmp_path: Path, others: dict[str, tuple[int, dict[str, int]]], note: str, reference: str | None
) -> None:
    runs = [write_dump(tmp_path / "a", 1, {"p": 1})]
    runs += [write_dump(tmp_path / name, step, correct) for name, (step, correct) in others.items()]
    result = compare(read_runs(list(dict.fromkeys(runs))), reference=reference)
    assert result.differences == result.matchings == []
    assert result.notes == [note]


def test_runs_without_a_common_data_source_say_so(tmp_path: Path) -> None:
    runs = [write_dump(tmp_path / name, 1, {"p": 1}, data_source=f"source of {name}") for name in "ab"]
    result = comparison_of(*runs)
    assert result.differences == []
    assert result.notes == ["a and b have no data source in common (source of a; source of b) and are not compared"]


@pytest.mark.parametrize("empty", [None, "", " "])
def test_responses_without_an_answer_do_not_vote(tmp_path: Path, empty: str | None) -> None:
    answers = {
        "one of four": ["7", empty, empty, empty],
        "nobody": [empty] * 4,
        "two of four": ["7", "8", empty, empty],
    }
    rows = [
        {"input": name, "score": float(answer == "7"), "answer": answer, "output": f"{i}"}
        for name, given in answers.items()
        for i, answer in enumerate(given)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = comparison_of(tmp_path / "a.jsonl", ks=[1, 4])
    assert only(result.estimates, metric="maj@k", k=4).value == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert only(result.estimates, metric="maj@k", k=1).value == pytest.approx((1 / 4 + 0 + 1 / 4) / 3)


def selected(rewards: list[float], scores: list[float], k: int) -> float:
    """Of every subset the reward of the one with the largest score, ties shared."""
    best = []
    for subset in combinations(range(len(rewards)), k):
        top = max(scores[i] for i in subset)
        best.append(np.mean([rewards[i] for i in subset if scores[i] == top]))
    return float(np.mean(best))


@pytest.mark.parametrize("score", [None, 2.0])
def test_what_a_judge_selects(tmp_path: Path, score: float | None) -> None:
    """With rewards of 0 and 1, and beside them with scores of their own; the gap is to the best of k."""
    judged = {"p": [3, 2, 2, 1], "q": [1, 1, 1, 1], "r": [None, 5, None, 0]}
    right = {"p": [0, 1, 0, 1], "q": [1, 0, 0, 0], "r": [1, 0, 0, 1]}
    rows = [
        {"input": name, "acc": c, "score": c if score is None else c * score + 1, "judge": judge, "output": str(i)}
        for name in judged
        for i, (c, judge) in enumerate(zip(right[name], judged[name], strict=True))
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = compare(read_runs([tmp_path / "a.jsonl"], "judge"), select_by="judge")
    best = "pass@k" if score is None else "max@k"
    for k in result.ks:
        expected = [
            selected(
                [c if score is None else c * score + 1 for c in right[name]], [-1 if j is None else j for j in of], k
            )
            for name, of in judged.items()
        ]
        row = only(result.estimates, metric="selected@k", k=k)
        assert row.value == pytest.approx(np.mean(expected))
        interval = (proportion_interval if score is None else mean_interval)(np.array(expected))
        assert row.interval == pytest.approx(interval)
        gap = only(result.estimates, metric="gap@k", k=k)
        assert gap.value == pytest.approx(only(result.estimates, metric=best, k=k).value - np.mean(expected))
    assert result.notes == [
        "all: 2 of 12 samples have no number in `judge`: one of them is selected only if none "
        "of the k samples has a number"
    ]


def test_a_judge_who_knows_the_score_leaves_no_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_dump(tmp_path / "a", 1, {"p": 1, "q": 3})
    assert main(["evaluate", str(run), "--select-by", "score", "--json", str(tmp_path / "a.json")]) == 0
    rows = json.loads((tmp_path / "a.json").read_text())["estimates"]
    of = {metric: [row["value"] for row in rows if row["metric"] == metric] for metric in METRICS}
    assert of["selected@k"] == pytest.approx(of["pass@k"])
    assert of["gap@k"] == pytest.approx([0, 0, 0])
    shown = capsys.readouterr().out
    assert [title for title in ("pass@k", "selected@k", "gap@k", "maj@k") if f"{title}\n" in shown] == [
        "pass@k",
        "selected@k",
        "gap@k",
    ]
    assert "the one of k responses with the largest `score`" in " ".join(shown.split())


@pytest.mark.parametrize("binary", [True, False])
def test_what_a_vote_gets(tmp_path: Path, binary: bool) -> None:
    """Of correctness where it is known, else of scores, with the gap to the best of k."""
    scores = [1.0, 0.0, 0.0, 0.0] if binary else [0.75, 0.25, 0.25, 0.0]
    rows = [{"input": "p", "score": s, "answer": a} for s, a in zip(scores, ["7", "8", "8", None], strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = compare(read_runs([tmp_path / "a.jsonl"], "vote"), select_by="vote")
    assert only(result.estimates, metric="maj@k", k=4).value == scores[1]
    assert only(result.estimates, metric="gap@k", k=4).value == scores[0] - scores[1]
    assert ("selected@k" in {row.metric for row in result.estimates}) is False


def test_what_cannot_select_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_dump(tmp_path / "a", 1, {"p": 1})
    empty = write_dump(tmp_path / "b", 1, {"p": 1}, answer="")
    for path, by, message in [
        (run, "judge", "--select-by judge needs a column with numbers: "),
        (run, "vote", "--select-by vote needs the answers in a column `answer`"),
        (empty, "vote", "and none with an answer"),
    ]:
        assert main(["evaluate", str(path), "--select-by", by]) == 2
        assert message in capsys.readouterr().err


def test_how_verification_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, status in enumerate(["ok", "no_answer"]):
        write_dump(tmp_path / f"a-seed{seed}", 1, {"p": 1}, status=status)
    write_dump(tmp_path / "old", 1, {"p": 1}, format_ok=1.0, unscored=0.0)
    assert main(["evaluate", *map(str, sorted(tmp_path.iterdir())), "--metrics", "status"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["run", "ok", "no_answer", "unparseable", "refused", "timeout", "crash"] in lines
    assert ["a", ".500", ".500", ".000", ".000", ".000", ".000"] in lines
    assert ["old"] in lines
