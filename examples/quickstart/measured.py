"""Runs of the quickstart as results: kept in results.jsonl, shown in README.md, and laid beside a run of your own.

    python measured.py --add outputs/quickstart/*-seed*    # keep runs that have ended, and write README's table anew
    python measured.py --beside outputs/quickstart/RUN     # GRPO's runs with the same settings, as dumps beside RUN

A line has the settings of a run and, for each validation, how many of the 16 samples of every held-out problem were
right: a digit in base 36 each, in the order of test.parquet, and "." for a problem that was not asked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from countdown import questions
from numpy.typing import NDArray
from prepare import draw_rows

from verl_maxpo import pass_at_k
from verl_maxpo.evaluate.estimates import mean_interval
from verl_maxpo.evaluate.settings import read_settings

HERE = Path(__file__).parent
RESULTS, README = HERE / "results.jsonl", HERE / "README.md"
SAME = ("TASK", "N", "PROMPTS", "STEPS", "EVAL_PROBLEMS")  # of two runs that differ by what makes advantages of rewards
NOT_ASKED = "."
TAG = "measured-before"


def held_out(task: str) -> list[str]:
    """Return the prompts of test.parquet."""
    test = questions(task)[1]
    return [row.prompt for row in draw_rows(test, len(test))]


def count_correct(dump: Path, task: str) -> dict[str, Any]:
    """Count the right samples of each problem in one of verl's dumps."""
    given: dict[str, list[int]] = defaultdict(list)
    for line in dump.read_text().splitlines():
        sample = json.loads(line)
        given[sample["input"]].append(int(sample["acc"]))
    prompts = held_out(task)
    sizes = {len(one) for one in given.values()}
    if len(sizes) != 1 or not given.keys() <= set(prompts):
        raise SystemExit(f"{dump}: expected as many samples of each prompt of test.parquet, got {sorted(sizes)}")
    digits = [np.base_repr(sum(given[prompt]), 36) if prompt in given else NOT_ASKED for prompt in prompts]
    return {"step": int(dump.stem), "samples": sizes.pop(), "correct": "".join(digits)}


def line_of(run: Path) -> dict[str, Any]:
    """Return the line of a run that has ended."""
    settings = {name: value for name, value in read_settings(run).items() if name != "MODEL"}
    dumps = sorted((run / "validation").glob("*.jsonl"), key=lambda dump: int(dump.stem))
    metrics = [json.loads(line)["data"] for line in next(run.glob("metrics-*.jsonl")).read_text().splitlines()]
    steps = [data["timing_s/step"] for data in metrics if "timing_s/step" in data]
    seconds = {
        "training": round((run / "finished").stat().st_mtime - (run / "settings").stat().st_mtime),
        "a step": round(float(np.median(steps)), 1),
    }
    about = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, verl {version('verl')}, torch {version('torch')}",
        "load": round(os.getloadavg()[2], 1),
        "seconds": seconds,
    }
    validations = [count_correct(dump, settings["TASK"]) for dump in dumps]
    return {"run": run.name, "about": about, "settings": settings, "validations": validations}


def read_results() -> list[dict[str, Any]]:
    """Return the lines of results.jsonl, by estimator and seed, MaxPO's first."""
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    return sorted(lines, key=lambda line: (line["settings"]["ESTIMATOR"] != "maxpo", line["run"]))


def values(validation: dict[str, Any], k: int) -> NDArray[np.float64]:
    """Return pass@k of every problem that was asked."""
    counts = np.array([int(digit, 36) for digit in validation["correct"] if digit != NOT_ASKED])
    return np.asarray(pass_at_k(validation["samples"], counts, k))


def gain(line: dict[str, Any], k: int) -> tuple[float, float]:
    """Return the 95% interval of what training added to pass@k, over the prompts."""
    first, last = line["validations"][0], line["validations"][-1]
    return mean_interval(values(last, k) - values(first, k)) or (np.nan, np.nan)


def row_of(line: dict[str, Any], k: int) -> str:
    """Return a run's row: pass@k and pass@1 before and after training, and the difference with its interval."""
    first, last = line["validations"][0], line["validations"][-1]
    before, after = values(first, k), values(last, k)
    low, high = gain(line, k)
    ones = [values(validation, 1).mean() for validation in (first, last)]
    cells = [
        line["run"],
        f"{before.mean():.3f}",
        f"{after.mean():.3f}",
        f"{(after - before).mean():+.3f} [{low:+.3f}, {high:+.3f}]",
        f"{ones[0]:.3f}, {ones[1]:.3f}",
        f"{line['about']['seconds']['training']} s",
    ]
    return "| " + " | ".join(cells).replace("0.", ".") + " |"


def table(lines: Iterable[dict[str, Any]], k: int = 4) -> str:
    """Return the table of README.md."""
    if not (rows := [row_of(line, k) for line in lines]):
        return "No run with these settings is kept yet: `python examples/quickstart/measured.py --add RUN` keeps one."
    header = (
        f"| run | pass@{k} before | after | difference | pass@1 before, after | training |\n|---|---|---|---|---|---|"
    )
    return "\n".join([header, *rows])


def filled(text: str) -> str:
    """Return README's text with the table as it should be."""
    return re.sub(
        r"(?s)(<!-- results -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{table(read_results())}\n{found[2]}",
        text,
    )


def write_dumps(line: dict[str, Any], out: Path) -> Path:
    """Write the validations of a line as dumps that verl-maxpo evaluate reads, and return their folder."""
    folder = out / str(line["run"]).replace("-seed", f"-{TAG}-seed")
    (folder / "validation").mkdir(parents=True, exist_ok=True)
    settings = "".join(f"{name}={value}\n" for name, value in line["settings"].items())
    (folder / "settings").write_text(settings)
    for validation in line["validations"]:
        asked = zip(held_out(line["settings"]["TASK"]), validation["correct"], strict=True)
        samples = [
            json.dumps({"input": prompt, "data_source": "countdown4", "score": float(i < int(digit, 36))})
            for prompt, digit in asked
            if digit != NOT_ASKED
            for i in range(validation["samples"])
        ]
        (folder / "validation" / f"{validation['step']}.jsonl").write_text("\n".join(samples))
    return folder


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="RUN", help="keep these runs")
    parser.add_argument("--beside", type=Path, metavar="RUN", help="write GRPO's runs of the same settings beside it")
    args = parser.parse_args()
    if args.add:
        known = {line["run"] for line in read_results()}
        lines = [line_of(run) for run in args.add if run.name not in known]
        with RESULTS.open("a") as file:
            file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        README.write_text(filled(README.read_text()))
    if args.beside:
        settings = read_settings(args.beside)
        for line in read_results():
            same = all(line["settings"][name] == settings.get(name) for name in SAME)
            if same and line["settings"]["ESTIMATOR"] == "grpo":
                print(write_dumps(line, args.beside.parent))


if __name__ == "__main__":
    main()
