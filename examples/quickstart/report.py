"""Show what training did to pass@k: a table, a picture and a JSON file from verl's validation dumps.

    python report.py --out DIR RUN [RUN ...]

Each RUN is a folder of run_tiny_fsdp2_cpu.sh. Runs that differ by "-seedN" only are averaged. pass@k is the unbiased
estimate; verl's own "best@N" metrics draw with replacement and understate it.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from rich.console import Console
from rich.table import Table

from verl_maxpo import pass_at_k

mpl.use("Agg")
import matplotlib.pyplot as plt

KS = [1, 2, 4, 8, 16]


def read_run(run: Path) -> pd.DataFrame:
    """Return pass@k of a run, a row for each evaluated step and a column for each k."""
    dumps = sorted((run / "validation").glob("*.jsonl"))
    if not dumps:
        raise SystemExit(f"{run} has no validation dumps: training did not get to its first evaluation, see its log")
    samples = pd.concat([pd.read_json(dump, lines=True, dtype={"input": str}) for dump in dumps])
    counts = samples.groupby(["step", "input"])["acc"].agg(n="size", c="sum").astype(int)
    values = {k: pass_at_k(counts["n"], counts["c"], k) for k in KS}
    return pd.DataFrame(values, index=counts.index).groupby("step").mean()


def read_runs(runs: list[Path]) -> pd.DataFrame:
    """Return pass@k with the index (estimator, seed, step)."""
    frames = {}
    for run in runs:
        name, _, seed = run.resolve().name.partition("-seed")
        frames[name, int(seed) if re.fullmatch(r"\d+", seed) else 0] = read_run(run)
    return pd.concat(frames, names=["estimator", "seed"])


def first_and_last(values: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return pass@k of every run before and after training."""
    runs = values.groupby(level=["estimator", "seed"])
    return runs.head(1).droplevel("step"), runs.tail(1).droplevel("step")


def format_cell(values: pd.Series[Any]) -> str:
    """Format the mean over seeds, with the standard deviation where there is one."""
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


def make_table(values: pd.DataFrame) -> Table:
    """Return the table of pass@k before and after training."""
    before, after = first_and_last(values)
    table = Table(title="pass@k on held-out problems", title_justify="left")
    for heading in ["", "seeds", *(f"pass@{k}" for k in KS)]:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    table.add_row("start", "", *(f"{before[k].mean():.3f}" for k in KS))
    for estimator, rows in after.groupby(level="estimator", sort=False):
        table.add_row(str(estimator), str(len(rows)), *(format_cell(rows[k]) for k in KS))
    return table


def make_picture(values: pd.DataFrame, file: Path) -> None:
    """Draw pass@k against k and against steps."""
    before, after = first_and_last(values)
    figure, (by_k, by_step) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    by_k.plot(KS, before.mean(), "o--", color="0.5", label="start")
    for estimator, rows in after.groupby(level="estimator", sort=False):
        by_k.errorbar(KS, rows.mean(), yerr=rows.std() if len(rows) > 1 else None, fmt="o-", label=estimator, capsize=3)
    by_k.set(xscale="log", xticks=KS, xticklabels=KS, xlabel="k", ylabel="pass@k", title="before and after")
    for colour, (estimator, rows) in enumerate(values.groupby(level="estimator", sort=False)):
        curves = rows.groupby(level="step").mean()
        for k, style in zip([1, 8], [":", "-"], strict=True):
            by_step.plot(curves.index, curves[k], style, marker="o", color=f"C{colour}", label=f"{estimator} pass@{k}")
    by_step.set(xlabel="training step", title="during training")
    for axes in (by_k, by_step):
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=150)
    plt.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, required=True, help="folder for pass_at_k.png and pass_at_k.json")
    arguments = parser.parse_args()
    values = read_runs(arguments.runs)
    Console(width=110).print(make_table(values))  # not folded where output is no terminal
    arguments.out.mkdir(parents=True, exist_ok=True)
    make_picture(values, arguments.out / "pass_at_k.png")
    rows = [
        dict(zip(values.index.names, index, strict=True)) | {"pass_at_k": row}
        for index, row in zip(values.index, values.to_dict("records"), strict=True)
    ]
    (arguments.out / "pass_at_k.json").write_text(json.dumps(rows, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
