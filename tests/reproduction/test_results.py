"""The pages' numbers are those of the results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.quickstart import prepare
from support.reproduction import curves, in_verl, report, studies, sweep

STARTS = json.loads((prepare.START / "starts.json").read_text())
START = studies.quickstart("hidden_digit")
PROBLEMS = {"hidden_digit": len(curves.hidden_digit_weights()[0]), "countdown": 300, "closest": 300}


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_results(page: report.Path) -> None:
    text = page.read_text()
    assert report.filled(text) == text, "run `python examples/reproduction/report.py`"
    assert "<!-- end -->" in text


@pytest.mark.parametrize("study", studies.STUDIES)
def test_results_are_whole(study: str) -> None:
    for run in curves.read_runs(study):
        problems = PROBLEMS.get(run.task) or run.about["settings"]["held_out"]
        assert run.steps[-1] == studies.STUDIES[study].steps
        for one in run.evaluations:
            counts = curves.expanded(one["successes"], one["samples"])
            assert len(counts) == problems
            assert 0 <= counts.min() <= counts.max() <= one["samples"]
            assert all(len(values) == 300 for values in one.get("deployed", {}).values())
            assert set(one.get("deployed", {})) >= {k for k in studies.STUDIES[study].tuned_for if isinstance(k, str)}
        assert {"commit", "date", "cpu", "seconds", "settings"} <= set(run.about)


def test_results_are_small() -> None:
    assert sum(file.stat().st_size for file in curves.RESULTS.iterdir()) < 10e6


def test_samples_of_verl_count_for_every_problem_of_their_prompt(tmp_path: Path) -> None:
    held_out = in_verl.questions("hidden_digit")[1]
    first, second = held_out[0][:2]
    lines = []
    for question in held_out:
        right = [first.solution, second.solution, "1+1"] if question[0] == first else [""] * 3
        lines += [json.dumps({"input": question[0].prompt, "output": text, "score": 0}) for text in right]
    dump = tmp_path / "400.jsonl"
    dump.write_text("\n".join(lines))
    found = in_verl.count_successes(dump)
    assert found == {"step": 400, "temperature": 1.0, "samples": 3, "successes": found["successes"]}
    assert found["successes"].rstrip("0") == "11"
    assert len(found["successes"]) == len(curves.hidden_digit_weights()[0])

    dump.write_text("\n".join(lines[1:]))
    with pytest.raises(SystemExit, match="as many samples of each of the 300 held-out prompts"):
        in_verl.count_successes(dump)


@given(samples=st.integers(1, 1295), data=st.data())
def test_counts_survive_the_results(samples: int, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, samples), max_size=20))
    assert curves.expanded(curves.compact(counts, samples), samples).tolist() == counts


def test_lines_name_the_model_that_they_start_from() -> None:
    assert sweep.name_of(sweep.start_of(studies.STUDIES["hidden_digit"], Path("nowhere"), 1)).startswith(
        "hidden_digit-335k-seed1@" + STARTS["hidden_digit-335k-seed1"]["sha256"][:8]
    )
    known = {f"{name}@{start['sha256'][:8]}" for name, start in STARTS.items()}
    runs = [run for study in studies.STUDIES for run in curves.read_runs(study) if run.shipped]
    assert {run.start for run in runs if "-335k-" in run.start} <= known


def line_of(method: str, lr: float, successes: str, seed: int = 0) -> curves.Run:
    """Return a run of hidden_digit with as many right samples of every problem."""
    evaluation = {"step": 600, "temperature": 1.0, "samples": 32, "successes": successes * 2000}
    evaluation["successes"] = evaluation["successes"][: len(curves.hidden_digit_weights()[0])]
    return curves.Run(method, lr, seed, "hidden_digit", (evaluation,), {"start": "x", "cpu": "y"})


def test_a_method_is_compared_on_the_shipped_starts_from_three_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"cpu": "y"}
    new = [line_of(method, 2, "1", seed) for seed in range(3) for method in ("grpo", "all")]
    old = [replace(line_of(method, 2, "1", seed), about=made) for seed in range(3) for method in ("grpo", "all", "loo")]
    for count, expected in [(2, ["all", "grpo", "grpo †", "loo †"]), (3, ["all", "grpo", "loo"])]:
        lines = [*new, *old, *(line_of("loo", 2, "1", seed) for seed in range(count))]
        monkeypatch.setattr(curves, "read_runs", lambda study, lines=lines: lines)
        assert sorted(name for name, _, _ in report.shown(f"with {count}", 8)) == expected


def test_a_study_looks_beyond_the_edge_and_adds_seeds_for_every_choice() -> None:
    method = studies.Method("grpo", {})
    study = studies.Study(
        "hidden_digit", START, 600, [(method,)], rates=(2, 1), seeds=(0, 1), starts=(0, 7), tuned_for=(8, 1)
    )
    named = lambda runs: [(job.lr, job.seed, job.start) for job in study.jobs(runs)]  # noqa: E731
    assert named([]) == [(2, 0, 0), (1, 0, 0)]
    scan = [line_of("grpo", 2, "1"), line_of("grpo", 1, "0")]
    assert named(scan)[2:] == [(4, 0, 0), (2, 0, 0), (2, 1, 0), (2, 0, 7), (2, 1, 7)]
    assert named([*scan, line_of("grpo", 4, "0")])[2:] == [(2, 0, 0), (2, 1, 0), (2, 0, 7), (2, 1, 7)]
    # half of the problems always right: the best at pass@1; all of them now and then: the best at pass@8
    choices = [line_of("grpo", 4, "0"), line_of("grpo", 2, "W0"), line_of("grpo", 1, "9"), line_of("grpo", 0.5, "0")]
    assert {lr for lr, seed, start in named(choices) if seed == 1} == {2, 1}


def test_the_mean_over_seeds_decides_between_rates_that_have_them_all() -> None:
    runs = [line_of("grpo", lr, right, seed) for lr, right, seed in [(2, "9", 0), (1, "5", 0), (2, "1", 1)]]
    assert {run.lr for run in curves.Comparison("hidden_digit", runs).methods["grpo"]} == {2}
    runs.append(line_of("grpo", 1, "6", 1))
    assert {run.lr for run in curves.Comparison("hidden_digit", runs).methods["grpo"]} == {1}


def test_a_later_group_is_tuned_for_the_first_choice_unless_a_method_says_more() -> None:
    scan = [line_of("grpo", 2, "W0"), line_of("grpo", 1, "9")]
    for own, expected in [((), {1}), ((8, 1), {2, 1})]:
        method = studies.Method("grpo", {}, tuned_for=own)
        study = studies.Study("hidden_digit", START, 600, [(), (method,)], (2, 1), seeds=(0, 1), tuned_for=(8, 1))
        assert {job.lr for job in study.jobs(scan) if job.seed == 1} == expected
    named = replace(study, more=[studies.Job(method, 3, 5)])
    assert [job.name for job in named.jobs(scan)][-1] == "grpo-lr3-seed5"
    assert named.count() == study.count() + 1


def test_a_sweep_skips_what_is_finished_from_its_own_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies.Study("hidden_digit", START, 600, [(studies.Method("grpo", {}),)], rates=(2, 1), seeds=(0,))
    found = sweep.Sweep("hidden_digit", study, tmp_path, processes=1)
    runs = [line_of("grpo", 2, "1")]
    monkeypatch.setattr(sweep, "read_runs", lambda name: runs)
    assert [job.lr for job in found.waiting()] == [2, 1]  # the line is from another start
    runs[0].about["start"] = found.starts[0]
    assert [job.lr for job in found.waiting()] == [1]
    found.failed.add(studies.Job(study.methods()[0], 1, 0).name)
    assert found.waiting() == []


def test_a_start_that_needs_a_model_says_how_to_get_it(tmp_path: Path) -> None:
    needing = replace(studies.STUDIES["smollm2_countdown"].start, needs=(str(tmp_path / "model"), "get_model.py"))
    study = replace(studies.STUDIES["smollm2_countdown"], start=needing)
    with pytest.raises(SystemExit, match=r"which is not there: get_model\.py"):
        sweep.start_of(study, tmp_path)


@pytest.mark.parametrize("name", studies.STUDIES)
def test_a_rehearsal_has_two_methods_and_two_steps(name: str) -> None:
    study = studies.rehearsal(studies.STUDIES[name])
    assert len(study.methods()) == 2
    assert (study.steps, len(study.rates), len(study.seeds)) == (2, 1, 1)
