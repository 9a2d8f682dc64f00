"""The pages' numbers are those of the results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.reproduction import curves, in_verl, report, smollm2, studies


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_results(page: report.Path) -> None:
    text = page.read_text()
    assert report.filled(text) == text, "run `python examples/reproduction/report.py`"
    assert "<!-- end -->" in text


@pytest.mark.parametrize("study", studies.STUDIES)
def test_results_are_whole(study: str) -> None:
    for run in curves.read_runs(study):
        assert run.steps[-1] == studies.STUDIES[study].steps
        problems = {len(curves.expanded(e["successes"], e["samples"])) for e in run.evaluations}
        assert problems == ({len(curves.hidden_digit_weights()[0])} if run.task == "hidden_digit" else {300})
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


def test_readme_of_smollm2_has_the_results() -> None:
    text = smollm2.README.read_text()
    assert smollm2.filled(text) == text, "run `python examples/smollm2/results.py`"
    assert "<!-- end -->" in text
