"""Make the tables and pictures of the studies, and the verdict, from results/.

    python examples/reproduction/report.py
    python examples/reproduction/report.py --best-rate hidden_digit maxpo

The first writes what is between the markers of its README.md and of the other PAGES, and the pictures to pictures/; the
second prints the learning rate that the table of a study has for a method.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from bandit_judge import CHOOSING
from claims import claims_table, main_method, name_of, plural, span
from countdown import questions
from curves import (
    RESULTS,
    Comparison,
    Metric,
    best_checkpoint,
    compare,
    hardware,
    hidden_digit_weights,
    ks_of,
    pools,
    rate_text,
    reported_half,
    sample_at,
    sample_of,
    scan_of,
)
from intervals import Estimate, Sample, estimate
from optimum import optimum
from pictures import draw_all, label_of
from studies import STUDIES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = (HERE / "README.md", ROOT / "docs" / "evidence.md", ROOT / "docs" / "index.md", ROOT / "README.md")
MODELS = {  # of the table of all studies: the study and its name there
    "hidden_digit": "hidden digit (335k parameters)",
    "hidden_digit_30M": "hidden digit (30M)",
    "countdown": "Countdown (335k)",
    "maze": "mazes (0.7M)",
    "smollm2_countdown": "Countdown (SmolLM2-135M)",
}
IN_SHORT = ("maze", "smollm2_countdown", "hidden_digit_30M")  # of the README's
CHOICES = {8: (1, 8, 16), 1: (1, 8)}  # the k that a method is tuned for, and those that a summary shows
MARK = "†"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float, digits: int = 3) -> str:
    """Return a number as the tables have it, .123."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def methods_table(study: str, target: Metric) -> str:
    """Each method at its best rate and step for the target, and its lead over its baseline there."""
    rows: list[list[object]] = []
    for name, method, comparison in shown(study, target):
        runs = comparison.methods[method]
        steps = [best_checkpoint(run, target).step for run in runs]
        about = f"{name}: {_rate(comparison, method)}, {plural(len(runs), 'run')}, {span(steps, '–')} steps"
        rows.append([about, *_means(comparison, method, "best"), _lead(comparison, method, target, "best")])
    rows += [[*row, ""] for row in _start_and_optimum(study, columns_of(compare(study, target)))]
    return table(["method", *heads_of(study, target), f"lead at {target} [95%]"], rows)


def final_table(study: str) -> str:
    """The methods at their best rate for pass@8, at the last step."""
    ks = (1, 8, 16)
    rows = []
    for name, method, comparison in shown(study, 8):
        runs = comparison.methods[method]
        about = f"{name}: {rate_text(runs[0].lr)}, {plural(len(runs), 'run')}"
        values = [number(comparison.sample(method, k, "final").mean) for k in ks]
        rows.append([about, *values, *[_lead(comparison, method, k, "final", over=False) for k in ks]])
    return table(["method", *[f"@{k}" for k in ks], *[f"lead at {k} [95%]" for k in ks]], rows)


def solved_table(study: str) -> str:
    """The share of the training prompts with a right response since the evaluation before, over steps."""
    comparison = compare(study)
    steps = comparison.runs[0].steps[1:]
    rows = []
    for method, runs in comparison.methods.items():
        shares = np.array([[run.at(step).get("solved", np.nan) for step in steps] for run in runs])
        rows.append([label_of(method), *map(number, shares.mean(axis=0))])
    return table(["method", *[f"step {step}" for step in steps]], rows)


def rates_table(study: str) -> str:
    """The scan: the result at the best checkpoint and at the end, one seed."""
    target = STUDIES[study].tuned_for[0]
    scans = {name: scan_of(comparison.runs, method) for name, method, comparison in shown(study, target)}
    rates = sorted({rate for scan in scans.values() for rate in scan})
    rows = []
    for name, scan in scans.items():
        usual = Counter(run.start for run in scan.values()).most_common(1)
        cells = []
        for run in map(scan.get, rates):
            if run is None:
                cells.append("")
                continue
            values = [sample_of([run], target, when).mean for when in (target, None)]
            cells.append(", ".join(map(number, values)) + ("" if run.start == usual[0][0] else f" {MARK}"))
        rows.append([name, *cells])
    return table(["method", *map(rate_text, rates)], rows)


def both_choices_table(studies: Iterable[str]) -> str:
    """The main comparison of each study: every method tuned for pass@8, then for pass@1, with its lead over GRPO."""
    head = ["method"]
    for target, (first, *others) in CHOICES.items():
        head += [f"tuned for @{target}: @{first}", *[f"@{k}" for k in others], f"lead at @{target} [95%]"]
    rows = [row for study in with_several_seeds(studies) for row in both_choices(study)]
    return table(head, rows)


def with_several_seeds(studies: Iterable[str]) -> list[str]:
    """Return the studies whose lead at pass@8 rests on several seeds."""
    leads = {study: _lead_where_tuned(study, main_method(study), 8) for study in studies}
    return [study for study, lead in leads.items() if lead and lead.runs > 1]


def both_choices(study: str) -> list[list[object]]:
    """Return the rows of a study: its name with the seeds of the leads, then each method, tuned for each k."""
    methods = main_methods(study, compare(study))
    rows: list[list[object]] = [[label] for label in (f"*{MODELS[study]}*", *map(label_of, methods))]
    for target, ks in CHOICES.items():
        leads = [_lead_where_tuned(study, method, target) for method in methods]
        rows[0] += [""] * len(ks) + [_seeds([lead for lead in leads if lead])]
        for row, method, lead in zip(rows[1:], methods, leads, strict=True):
            row += [number(compare(study, target).sample(method, k, "best").mean) for k in ks] + [lead or ""]
    return rows


def _seeds(leads: Sequence[Estimate]) -> str:
    """Say on how many seeds, or runs from how many starts, the leads rest."""
    if not leads:
        return ""
    runs, starts = span([lead.runs for lead in leads]), max(lead.starts for lead in leads)
    return f"{plural(runs, 'run')}, {starts} starts" if starts > 1 else plural(runs, "seed")


def in_words() -> str:
    """Where max@k training is clearly ahead of GRPO at pass@8, and GRPO at pass@1, each tuned for it."""
    said = []
    for target, winner, other in ((8, "MaxPO", "GRPO"), (1, "GRPO", "MaxPO")):
        found: dict[str, list[str]] = {
            f"beats {other}": [],
            f"shows no clear lead over {other}": [],
            f"loses to {other}": [],
        }
        for study in with_several_seeds(MODELS):
            if lead := _lead_where_tuned(study, main_method(study), target):
                low, high = (lead.low, lead.high) if winner == "MaxPO" else (-lead.high, -lead.low)
                verdict = "beats" if low > 0 else "loses to" if high < 0 else "shows no clear lead over"
                name = MODELS[study].replace(")", ", one seed)") if lead.runs == 1 else MODELS[study]
                found[f"{verdict} {other}"].append(name)
        where = [f"{verdict} on {listed(names)}" for verdict, names in found.items() if names]
        said.append(f"With both tuned for pass@{target}, {winner} {', and '.join(where)}.")
    return fill(" ".join(said))


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _lead_where_tuned(study: str, method: str, target: int) -> Estimate | None:
    """The lead over GRPO at pass@target of a method that is tuned for it, as GRPO is."""
    comparison = compare(study, target, method)
    if method == comparison.baseline or not comparison.blocks(method, comparison.baseline):
        return None
    return comparison.difference(method, comparison.baseline, target, "best")


def missing() -> str:
    """The sentence on what has too few results for a summary."""
    settled = with_several_seeds(MODELS)
    lacking = [name for study, name in MODELS.items() if study not in settled]
    if not lacking:
        return "Each of these studies has several seeds at pass@8."
    return fill(f"Not yet with several seeds: {', '.join(lacking)}.")


def main_methods(study: str, comparison: Comparison) -> list[str]:
    """Return the methods of a study's main comparison that have results."""
    return [method.name for method in STUDIES[study].groups[0] if method.name in comparison.methods]


def shown(study: str, target: Metric) -> Iterator[tuple[str, str, Comparison]]:
    """Yield the rows of a study's tables: a name, a method, and the comparison that has it.

    Methods with too few runs on the shipped starts come after the others: with their runs from starts that each machine
    made anew, their baseline there, and a mark.
    """
    first, others = compare(study, target), pools(study, target)[1]
    missing = [method for method in others.methods if compare(study, target, method) is not first]
    yield from ((method, method, first) for method in first.methods if method not in missing)
    if missing:
        yield from ((f"{method} {MARK}", method, others) for method in (others.baseline, *missing))


def agreement_table() -> str:
    """The runs in verl beside those of train.py at the same rate and step, from the same starts."""
    runs = [run for pool in pools("hidden_digit") for run in pool.runs]
    rows = []
    for method, in_verl in compare("in_verl").methods.items():
        step, rate, starts = in_verl[0].steps[-1], in_verl[0].lr, {run.start for run in in_verl}
        plain = [run for run in runs if (run.method, run.lr) == (method, rate) and run.start in starts]
        for k in (1, 8, 16) if plain else ():
            here, there = (sample_at(of, k, [step] * len(of)) for of in (in_verl, plain))
            values = [f"{number(sample.mean)} ({len(sample.values)})" for sample in (here, there)]
            rows.append([f"{method}, {rate_text(rate)}, step {step}", f"@{k}", *values, estimate(here, there)])
    return table(["method", "", "verl (runs)", "train.py (runs)", "verl less train.py [95%]"], rows)


def temperatures_table(study: str) -> str:
    """The last step, sampled at other temperatures."""
    rows = []
    for method in ("grpo", "maxpo", "all"):
        comparison = compare(study)
        if method in comparison.methods:
            for temperature in (1.0, 1.25, 1.5, 2.0):
                rows.append([method, temperature, *_means(comparison, method, "final", temperature)])
    return table(["method", "temperature", *heads_of(study)], rows)


def variance_table() -> str:
    """The variance of the gradient relative to L2O's."""
    rows = []
    for study in _lines("variance"):
        norms = study["squared_gradient"]
        start = f"{study['start']}: {number(study['success_rate'], 2)}, {norms['wrong'] / norms['right']:.1f}"
        for n, k in sorted({(one["n"], one["k"]) for one in study["ratios"]}):
            found = {one["baseline"]: one for one in study["ratios"] if (one["n"], one["k"]) == (n, k)}
            cells = [_interval(*found[name]["variance"]) for name in ("loo_minus_one", "loo", "none")]
            theory = f"{found['loo_minus_one']['first_order']:.2f}, {found['loo_minus_one']['mean_square']:.2f}"
            rows.append([start, f"{n}, {k}", *cells, theory])
    head = ["start: success rate, wrong / right", "n, k", "`loo_minus_one`", "`loo`", "`none`"]
    return table([*head, "first order, E[A²]"], rows)


def bandit_table() -> str:
    """The same in the bandit."""
    lines = _lines("bandit")
    rows = []
    for bandit, n, k in dict.fromkeys((one["bandit"], one["n"], one["k"]) for one in lines):
        found = {one["baseline"]: one for one in lines if (one["bandit"], one["n"], one["k"]) == (bandit, n, k)}
        cells = [_interval(*found[name]["relative"]) for name in ("loo_minus_one", "loo", "none")]
        rows.append([bandit, f"{n}, {k}", f"{found['l2o']['variance']:.4g}", *cells])
    return table(["bandit", "n, k", "variance of `l2o`", "`loo_minus_one`", "`loo`", "`none`"], rows)


def judge_table() -> str:
    """The bandit with a judge: each method at its best rate on the first seeds, means of the others."""
    lines, rows = _lines("bandit_judge"), []
    for bias in dict.fromkeys(line["bias"] for line in lines):
        best = {}
        for method in dict.fromkeys(line["method"] for line in lines):
            scan = [line for line in lines if (line["bias"], line["method"]) == (bias, method)]
            best[method] = max(scan, key=lambda line: float(np.mean(line["values"]["selected@8"][:CHOOSING])))
        kept = {  # the seeds are what the prompts are elsewhere
            method: Sample(np.array([line["values"]["selected@8"][CHOOSING:]]), ("",)) for method, line in best.items()
        }
        for method, line in best.items():
            cells = [number(float(np.mean(values[CHOOSING:]))) for values in line["values"].values()]
            lead = "" if method == "max@8" else str(estimate(kept[method], kept["max@8"]))
            rows.append([bias, f"{method}, {rate_text(line['lr'])}", *cells, lead])
    head = [
        "bias",
        "trained for",
        "pass@1",
        "max@8",
        "selected@8",
        "on liked arms",
        "selected@8 less that of max@8 [95%]",
    ]
    return table(head, rows)


def provenance_table() -> str:
    """Where every number comes from."""
    rows = []
    for name in (*STUDIES, "in_verl", "variance", "bandit", "bandit_judge"):
        lines = _lines(name)
        if not lines:
            continue
        about = [line["about"] for line in lines]
        seeds = " ".join(map(str, sorted({line["seed"] for line in lines if "seed" in line}) or [0]))
        dates, commits = (", ".join(dict.fromkeys(one[key] for one in about)) for key in ("date", "commit"))
        starts = ", ".join(dict.fromkeys(one.get("start", f"made anew on {hardware(one)}") for one in about))
        hours = sum(one.get("seconds", 0) for one in about) / 3600
        took = f", {hours:.1f} hours" if hours else ""
        rows.append([name, f"{len(lines)} results, seeds {seeds}{took}", starts, dates, commits])
    return table(["study", "what there is", "starts", "date", "commit"], rows)


def overlap() -> str:
    """The sentence on what the held-out prompts share with training."""
    said = []
    for task, name in (("hidden_digit", "hidden digit"), ("countdown", "Countdown")):
        train, held_out = questions(task)
        digits = {question[0].digits for question in train}
        shared = sum(question[0].digits in digits for question in held_out)
        said.append(f"{shared} of the {len(held_out)} held-out prompts of {name}")
    return fill(f"Of the digits, not of the target: {' and '.join(said)} have four digits that training has too.")


def fill(text: str, indent: str = "") -> str:
    """Return a paragraph in lines of the length of the pages'."""
    return textwrap.fill(text, 120, break_on_hyphens=False, break_long_words=False, subsequent_indent=indent)


def columns_of(comparison: Comparison) -> list[Metric]:
    """Return what the columns of results show."""
    if isinstance(comparison.target, int):
        first = comparison.runs[0]
        every = [first.evaluations[0]["samples"]] * (first.task == "maze")  # 1 less it is the share never solved
        return [*dict.fromkeys([*ks_of(comparison.runs), *every])]
    return [1, 4, *comparison.runs[0].evaluations[0]["deployed"]]


def heads_of(study: str, target: Metric = 8) -> list[str]:
    """Return the heads of the columns of results."""
    graded = study in STUDIES and STUDIES[study].task == "closest"
    return [f"best of {k}" if graded else name_of(k) for k in columns_of(compare(study, target))]


def _rate(comparison: Comparison, method: str) -> str:
    """The rate of a method, of how many, and a mark if the scan took a run from another start than the others."""
    scan = scan_of(comparison.runs, method)
    mixed = len({run.start for run in scan.values()}) > 1
    return f"{rate_text(comparison.methods[method][0].lr)} of {len(scan)}" + (f" {MARK}{MARK}" if mixed else "")


def _means(comparison: Comparison, method: str, when: str, temperature: float = 1.0) -> list[str]:
    return [number(comparison.sample(method, k, when, temperature).mean) for k in columns_of(comparison)]


def _lead(comparison: Comparison, method: str, k: Metric, when: str, over: bool = True) -> str:
    """The lead over the baseline on the runs that both have, and the baseline's result on these."""
    baseline = comparison.baseline_of(method)
    blocks = comparison.blocks(method, baseline)
    if method == baseline or not blocks:
        return ""
    there = number(comparison.sample(baseline, k, when, blocks=blocks).mean)
    return str(comparison.difference(method, baseline, k, when)) + (f" over {there}" if over else "")


def _start_and_optimum(study: str, ks: Sequence[Metric]) -> list[list[object]]:
    runs = {run.start: run for run in compare(study).runs}.values()
    starts = [number(float(np.mean([reported_half(run.value(k, 0)) for run in runs]))) for k in ks]
    rows: list[list[object]] = [["start", *starts]]
    if STUDIES[study].task == "hidden_digit":
        rows.append(["best possible", *[number(best_possible(k)) if isinstance(k, int) else "" for k in ks]])
    return rows


@cache
def best_possible(k: int) -> float:
    """Return pass@k of the policy that is best for it, on the prompts of hidden digit that are reported."""
    return optimum(reported_prompts(), {k: 1.0}, k)


def reported_prompts() -> list[list[float]]:
    """Return the likelihoods of the targets of the prompts of hidden digit that are reported."""
    weights, first = hidden_digit_weights()
    return [part.tolist() for part in np.split(weights, first[1:])][1::2]


def _interval(mean: float, low: float, high: float) -> str:
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _lines(name: str) -> list[dict[str, Any]]:
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def tables() -> dict[str, Callable[[], str]]:
    """Return what makes the text of each marker."""
    made: dict[str, Callable[[], str]] = {
        "claims": claims_table,
        "provenance": provenance_table,
        "overlap": overlap,
        "missing": missing,
        "in words": in_words,
        "both choices": partial(both_choices_table, MODELS),
        "in short": partial(both_choices_table, IN_SHORT),
        "variance": variance_table,
        "bandit": bandit_table,
        "bandit_judge": judge_table,
        "in_verl final": partial(final_table, "in_verl"),
        "in_verl agreement": agreement_table,
        "hidden_digit temperatures": partial(temperatures_table, "hidden_digit"),
    }
    for study in STUDIES:
        made |= {f"{study} {name}": partial(_present, study, make) for name, make in OF_A_STUDY.items()}
    return made


OF_A_STUDY: dict[str, Callable[[str], str]] = {
    "best": lambda study: methods_table(study, 8),
    "deployed": lambda study: methods_table(study, STUDIES[study].tuned_for[0]),
    "best for pass@1": lambda study: methods_table(study, 1),
    "final": final_table,
    "rates": rates_table,
    "solved": solved_table,
    "picture": lambda study: f"![results over steps](pictures/{study}.png)",
}


def _present(study: str, make: Callable[[str], str]) -> str:
    if any(pool.runs for pool in pools(study)):
        return make(study)
    return f"*There are no results yet: `sweep.py {study}` makes them.*"


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
