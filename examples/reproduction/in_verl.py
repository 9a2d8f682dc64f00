"""Add runs of in_verl.sh to results/in_verl.jsonl: the right samples of every held-out problem, from verl's dumps.

    python examples/reproduction/in_verl.py outputs/hidden_digit/*-seed0

verl scores a sample by the one problem that was drawn for its prompt. Here, as in train.py, it is compared with every
problem that the prompt may stand for. Runs that are there already, from the same kind of processor, are skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from curves import Run, compact, read_runs
from sweep import about_this_machine, add_line

from verl_maxpo.evaluate.settings import read_settings

sys.path.insert(0, str(Path(__file__).parents[1] / "quickstart"))
from countdown import expressions, questions

STUDY, TASK = "in_verl", "hidden_digit"


def count_successes(dump: Path) -> dict[str, Any]:
    """Return the evaluation of a step as train.py writes it."""
    outputs: dict[str, list[str]] = defaultdict(list)
    for line in dump.read_text().splitlines():
        sample = json.loads(line)
        outputs[sample["input"]].append(sample["output"])
    held_out = questions(TASK)[1]
    asked = [question[0].prompt for question in held_out]
    if set(asked) != set(outputs) or len({len(texts) for texts in outputs.values()}) != 1:
        raise SystemExit(f"{dump}: expected as many samples of each of the {len(asked)} held-out prompts")
    values = [[expressions(q[0].digits).get(text) for text in outputs[q[0].prompt]] for q in held_out]
    successes = [given.count(p.target) for question, given in zip(held_out, values, strict=True) for p in question]
    samples = len(values[0])
    return {"step": int(dump.stem), "temperature": 1.0, "samples": samples, "successes": compact(successes, samples)}


def line_of(run: Path) -> dict[str, Any]:
    """Return the line of a run that has ended."""
    settings = {name: value for name, value in read_settings(run).items() if name != "MODEL"}
    method = "all" if settings["K"] == "all" else settings["ESTIMATOR"]
    seconds = (run / "finished").stat().st_mtime - (run / "settings").stat().st_mtime
    about = {**about_this_machine(), "seconds": round(seconds), "settings": settings}
    dumps = sorted((run / "validation").glob("*.jsonl"), key=lambda dump: int(dump.stem))
    about_run = {"method": method, "lr": float(settings["LR"]), "seed": int(settings["SEED"]), "task": TASK}
    return {**about_run, "about": about, "evaluations": [count_successes(dump) for dump in dumps]}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs that have ended")
    done = {(run.method, run.lr, run.block) for run in read_runs(STUDY)}
    for folder in parser.parse_args().runs:
        line = line_of(folder)
        run = Run.of(line)
        if (run.method, run.lr, run.block) not in done:
            add_line(STUDY, line)
            print(f"added {folder.name}")


if __name__ == "__main__":
    main()
