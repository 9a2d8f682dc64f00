"""The tables of examples/smollm2 are what ``evaluate`` makes of the results that are kept there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.recipes import EXAMPLES

from verl_maxpo.cli import main


@pytest.mark.parametrize("study", ["results", "gsm8k"])
def test_tables_of_smollm2_are_those_of_evaluate(study: str, tmp_path: Path) -> None:
    """On dumps that hold as many right samples of each problem as the kept results."""
    for line in (EXAMPLES / "smollm2" / f"{study}.jsonl").read_text().splitlines():
        run = json.loads(line)
        if study == "results":
            of_run = {one["step"]: one["successes"] for one in run["evaluations"]}
            write_dumps(tmp_path / f"{run['run']}-seed{run['seed']}", of_run)
        else:
            write_dumps(tmp_path / run["model"], {0: run["successes"]})
            write_dumps(tmp_path / f"{run['model']}, last number", {0: run["successes_by_last_number"]})
    markdown = tmp_path / "evaluation.md"
    assert main(["evaluate", str(tmp_path), "--k", "1", "4", "16", "--brief", "--markdown", str(markdown)]) == 0
    rows = [line for line in markdown.read_text().split("###")[1].splitlines() if line.startswith("|")]
    readme = (EXAMPLES / "smollm2" / "README.md").read_text()
    assert "\n".join(rows) in readme, "\n".join(rows)


def write_dumps(run: Path, successes: dict[int, list[int]]) -> None:
    """Write 16 samples of each problem at each step."""
    (run / "validation").mkdir(parents=True)
    for step, counts in successes.items():
        rows = [{"prompt_id": i, "score": int(j < count)} for i, count in enumerate(counts) for j in range(16)]
        (run / "validation" / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
