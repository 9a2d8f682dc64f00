"""Make the tables and pictures of the studies, and the verdict, from results/.

    python examples/reproduction/report.py
    python examples/reproduction/report.py --best-rate hidden_digit maxpo

The first writes what is between the markers of its README.md, of docs/evidence.md and of the project's README, and the
pictures to pictures/; the second prints the learning rate that the table of a study has for a method.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from claims import LARGER, claims_table, tuned_for
from curves import (
    RESULTS,
    Comparison,
    best_checkpoint,
    compare,
    estimate,
    hardware,
    rate_text,
    reported_half,
    scan_of,
    weights_of,
)
from optimum import optimum
from pictures import draw_all
from studies import STUDIES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = (HERE / "README.md", ROOT / "docs" / "evidence.md", ROOT / "README.md")
KS = (1, 4, 8, 16)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float, digits: int = 3) -> str:
    """Return a number as the tables have it, .123."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def methods_table(study: str) -> str:
    """Each method at its best rate: the checkpoint chosen by pass@8, and the difference to GRPO there."""
    comparison = compare(study)
    rows: list[list[object]] = []
    for method, runs in comparison.methods.items():
        steps = [best_checkpoint(run, 8).step for run in runs]
        values = _means(comparison, method, "best").values()
        against = _against(comparison, method, 8, "best")
        tried = comparison.rates_tried(method)
        rows.append(
            [method, f"{rate_text(runs[0].lr)} of {tried}", len(runs), " ".join(map(str, steps)), *values, against]
        )
    rows += _start_and_optimum(study, ["", "", ""])
    best = "best of k" if STUDIES[study].task == "closest" else "pass@k"
    head = [
        "method",
        "learning rate",
        "seeds",
        "steps",
        *[best.replace("of k", f"of {k}").replace("@k", f"@{k}") for k in KS],
    ]
    return table([*head, f"{head[6]} less {comparison.baseline} [95%]"], rows)


def final_table(study: str) -> str:
    """The same runs at their last step, with the difference to GRPO."""
    comparison = compare(study)
    rows = []
    for method, runs in comparison.methods.items():
        values = _means(comparison, method, "final").values()
        differences = [_against(comparison, method, k, "final") for k in (1, 8, 16)]
        rows.append([method, rate_text(runs[0].lr), len(runs), *values, *differences])
    head = ["method", "learning rate", "seeds", *[f"@{k}" for k in KS]]
    return table([*head, *[f"@{k} less {comparison.baseline} [95%]" for k in (1, 8, 16)]], rows)


def rates_table(study: str) -> str:
    """The scan: pass@8 (or best of 8) at the best checkpoint and at the end, one seed."""
    scans = {method: scan_of(compare(study).runs, method) for method in compare(study).methods}
    rates = sorted({rate for scan in scans.values() for rate in scan})
    rows = []
    for method, found in scans.items():
        cells = []
        for rate in rates:
            run = found.get(rate)
            if run is None:
                cells.append("")
                continue
            final = reported_half(run.pass_at_k(8, run.steps[-1]))
            cells.append(f"{number(best_checkpoint(run, 8).reported.mean())}, {number(final.mean())}")
        rows.append([method, *cells])
    return table(["method", *map(rate_text, rates)], rows)


def agreement_table() -> str:
    """The runs in verl beside those of train.py at the same rate and step, from the same start."""
    ours, runs = compare("in_verl"), compare("hidden_digit").runs
    rows = []
    for method, in_verl in ours.methods.items():
        step = in_verl[0].steps[-1]
        starts = {run.start for run in in_verl}
        plain = [run for run in runs if (run.method, run.lr) == (method, in_verl[0].lr) and run.start in starts]
        if not plain:
            continue
        cells: list[str] = []
        for k in (1, 8, 16):
            here, there = (np.stack([reported_half(run.pass_at_k(k, step)) for run in of]) for of in (in_verl, plain))
            cells += [number(here.mean()), number(there.mean()), str(estimate(here, there))]
        rows.append([method, rate_text(in_verl[0].lr), step, f"{len(in_verl)}, {len(plain)}", *cells])
    heads = [head for k in (1, 8, 16) for head in (f"@{k} verl", "train.py", "verl less train.py [95%]")]
    return table(["method", "learning rate", "step", "seeds", *heads], rows)


def temperatures_table(study: str) -> str:
    """The last step, sampled at other temperatures."""
    comparison = compare(study)
    rows = []
    for method in [m for m in ("grpo", "maxpo", "all") if m in comparison.methods]:
        for temperature in (1.0, 1.25, 1.5, 2.0):
            rows.append([method, temperature, *_means(comparison, method, "final", temperature).values()])
    return table(["method", "temperature", *[f"pass@{k}" for k in KS]], rows)


def variance_table() -> str:
    """The variance of the gradient relative to L2O's."""
    rows = []
    for study in _lines("variance"):
        norms = study["squared_gradient"]
        for n, k in sorted({(one["n"], one["k"]) for one in study["ratios"]}):
            found = {one["baseline"]: one for one in study["ratios"] if (one["n"], one["k"]) == (n, k)}
            cells = [_interval(*found[name]["variance"]) for name in ("loo_minus_one", "loo", "none")]
            theory = f"{found['loo_minus_one']['first_order']:.2f}, {found['loo_minus_one']['mean_square']:.2f}"
            norm = f"{norms['wrong'] / norms['right']:.1f}"
            rows.append([study["start"], number(study["success_rate"], 2), norm, f"{n}, {k}", *cells, theory])
    head = ["start", "success rate", "wrong / right", "n, k", "`loo_minus_one`", "`loo`", "`none`"]
    return table([*head, "`loo_minus_one`: first order, E[A²]"], rows)


def bandit_table() -> str:
    """The same in the bandit."""
    lines = _lines("bandit")
    rows = []
    for bandit, n, k in dict.fromkeys((one["bandit"], one["n"], one["k"]) for one in lines):
        found = {one["baseline"]: one for one in lines if (one["bandit"], one["n"], one["k"]) == (bandit, n, k)}
        cells = [_interval(*found[name]["relative"]) for name in ("loo_minus_one", "loo", "none")]
        rows.append([bandit, f"{n}, {k}", f"{found['l2o']['variance']:.4g}", *cells])
    return table(["bandit", "n, k", "variance of `l2o`", "`loo_minus_one`", "`loo`", "`none`"], rows)


def provenance_table() -> str:
    """Where every number comes from."""
    rows = []
    for name in (*STUDIES, "in_verl", "variance", "bandit"):
        lines = _lines(name)
        if not lines:
            continue
        about = [line["about"] for line in lines]
        seeds = sorted({line["seed"] for line in lines if "seed" in line}) or [0]
        command = "sweep.py " + name if name in STUDIES else {"in_verl": "in_verl.sh"}.get(name, f"{name}.py")
        dates, commits = ([*dict.fromkeys(one[key] for one in about)] for key in ("date", "commit"))
        processors = [*dict.fromkeys(map(hardware, about))]
        seconds = sum(one.get("seconds", 0) for one in about)
        rows.append(
            [name, f"`{command}`", len(lines), " ".join(map(str, seeds)), f"{seconds / 3600:.1f}" if seconds else "",
             ", ".join(processors), ", ".join(dates), ", ".join(commits)]
        )  # fmt: skip
    return table(["study", "command", "results", "seeds", "hours of all runs", "processor", "date", "commit"], rows)


WHEN_TO_USE = """
**When to use it.** You deploy several tries and the prompt leaves something open, so that no one guess is always right.
In a task of that kind, each method at its best learning rate and step:

{table}

Nothing larger has been measured yet. Where one answer is as good as another, on plain Countdown with {plain_seeds},
MaxPO's pass@8 is {plain_maxpo[8]} against GRPO's {plain_grpo[8]} and pass@1 {plain_maxpo[1]} against {plain_grpo[1]}.
**When not to.** You deploy one try: chosen for pass@1, GRPO is {ahead} ahead in the task of the table, with 30 million
parameters {large_ahead}. The [evidence](docs/evidence.md) has every number with its command, seeds and intervals, and
the claims that did *not* hold.
"""


def when_to_use() -> str:
    """The paragraph of the project's README."""
    rows: list[list[object]] = []
    for study, size in (("hidden_digit", "335,000 parameters"), (LARGER, "30 million parameters")):
        comparison = compare(study)
        for method, name in (("grpo", "GRPO"), ("maxpo", "MaxPO, k = 4")):
            means = _means(comparison, method, "best").values()
            rows.append([size, name, len(comparison.methods[method]), *means])
    possible = [number(optimum(reported_prompts("hidden_digit"), {k: 1.0}, k)) for k in KS]
    rows.append(["", "best possible", "", *possible])
    text = WHEN_TO_USE.strip().format(
        table=table(["model", "method", "seeds", *[f"pass@{k}" for k in KS]], rows),
        ahead=number(tuned_for(1, "hidden_digit")[0][1].mean, 2),
        large_ahead=number(tuned_for(1, LARGER)[0][1].mean, 2),
        plain_seeds=f"{len(compare('countdown').methods['maxpo'])} seeds",
        plain_maxpo=_means(compare("countdown"), "maxpo", "best"),
        plain_grpo=_means(compare("countdown"), "grpo", "best"),
    )
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        part if part.startswith("|") else textwrap.fill(part, 120, break_on_hyphens=False) for part in paragraphs
    )


def _means(comparison: Comparison, method: str, when: str, temperature: float = 1.0) -> dict[int, str]:
    return {k: number(comparison.values(method, k, when, temperature).mean()) for k in KS}


def _against(comparison: Comparison, method: str, k: int, when: str) -> str:
    if method == comparison.baseline or not comparison.blocks(method, comparison.baseline):
        return ""
    return str(comparison.difference(method, comparison.baseline, k, when))


def _start_and_optimum(study: str, blank: list[str]) -> list[list[object]]:
    runs = compare(study).runs
    if not runs:
        return []
    start = [number(float(reported_half(runs[0].pass_at_k(k, 0)).mean())) for k in KS]
    rows: list[list[object]] = [["start", *blank, *start, ""]]
    if STUDIES[study].task == "hidden_digit":
        prompts = reported_prompts(study)
        rows.append(["best possible", *blank, *[number(optimum(prompts, {k: 1.0}, k)) for k in KS], ""])
    return rows


def reported_prompts(study: str) -> list[list[float]]:
    """Return the likelihoods of the targets of the prompts that are reported."""
    weights, first = weights_of(STUDIES[study].task)
    return [part.tolist() for part in np.split(weights, first[1:])][1::2]


def _interval(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _lines(name: str) -> list[dict[str, Any]]:
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def tables() -> dict[str, Callable[[], str]]:
    """Return what makes the table of each marker."""
    made: dict[str, Callable[[], str]] = {
        "claims": claims_table,
        "provenance": provenance_table,
        "when to use it": when_to_use,
        "variance": variance_table,
        "bandit": bandit_table,
        "in_verl final": partial(final_table, "in_verl"),
        "in_verl agreement": agreement_table,
        "hidden_digit temperatures": partial(temperatures_table, "hidden_digit"),
    }
    for study in STUDIES:
        made[f"{study} best"] = partial(methods_table, study)
        made[f"{study} final"] = partial(final_table, study)
        made[f"{study} rates"] = partial(rates_table, study)
    return made


def filled(text: str) -> str:
    """Return a page with the tables between its markers ``<!-- NAME -->`` and ``<!-- end -->`` made anew."""
    made = tables()

    def replace(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n{made[match[1]]()}\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(made)}) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--best-rate", nargs=2, metavar=("STUDY", "METHOD"), help="print it and do nothing else")
    arguments = parser.parse_args()
    if arguments.best_rate:
        study, method = arguments.best_rate
        print(compare(study).methods[method][0].lr)
        return
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    draw_all(HERE / "pictures")


if __name__ == "__main__":
    main()
