"""The pages' numbers are those of the results."""

from __future__ import annotations

import pytest
from support.reproduction import curves, report, studies


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_results(page: report.Path) -> None:
    text = page.read_text()
    assert report.filled(text) == text, "run `python examples/reproduction/report.py`"
    assert "<!-- end -->" in text


@pytest.mark.parametrize("study", studies.STUDIES)
def test_results_are_whole(study: str) -> None:
    for run in curves.read_runs(study):
        problems = len(curves.weights_of(run.task)[0])
        assert run.steps[-1] == studies.STUDIES[study].steps
        assert all(len(evaluation["successes"]) == problems for evaluation in run.evaluations)
        assert {"commit", "date", "cpu", "seconds", "settings"} <= set(run.about)


def test_results_are_small() -> None:
    assert sum(file.stat().st_size for file in curves.RESULTS.iterdir()) < 10e6
