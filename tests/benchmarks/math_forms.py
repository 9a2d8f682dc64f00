"""Right answers refused and wrong answers paid: this project beside math-verify and verl's scorers.

    python tests/benchmarks/math_forms.py [--corpus cases] [--split held_out] [--kinds] [--misses]

The corpora are tests/samples/math_forms.jsonl and answer_cases.jsonl. math-verify is called as its documentation says
(the gold answer as LaTeX, the whole response, its default extraction); verl's scorers are ``math_reward`` (MATH),
``math_dapo``, which wants a line "Answer: ..." and gets the answer in that form where it is in a box, and ``gsm8k``.
verl's ``prime_math`` evaluates answers as Python, so it is not given these.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from math_verify import LatexExtractionConfig, parse
from math_verify import verify as math_verify_equal
from rich.console import Console
from rich.table import Table
from verl.utils.reward_score import gsm8k, math_dapo, math_reward

from verl_maxpo.rewards.registry import load_verifier
from verl_maxpo.rewards.verifiers.extraction import last_boxed

SAMPLES = Path(__file__).parents[1] / "samples"
CORPORA = {"forms": "math_forms.jsonl", "cases": "answer_cases.jsonl"}
Row = dict[str, Any]


def this_project(row: Row) -> bool:
    verify = load_verifier(row.get("verifier", "math"))
    return verify(row["response"], row["gold"], {}, **row.get("options", {})).correct


def math_verify(row: Row) -> bool:
    gold = parse(f"${row['gold']}$", [LatexExtractionConfig()])
    return math_verify_equal(gold, parse(row["response"]))


def verl_math(row: Row) -> bool:
    return math_reward.compute_score(row["response"], row["gold"]) > 0


def verl_dapo(row: Row) -> bool:
    box = last_boxed(row["response"])
    response = row["response"] if box is None else f"Answer: {box}"
    return bool(math_dapo.compute_score(response, row["gold"])["acc"])


def verl_gsm8k(row: Row) -> bool:
    method = row.get("options", {}).get("method", "strict")
    return gsm8k.compute_score(row["response"], row["gold"], method) > 0


#: For each scorer the verifiers whose task it does.
TASKS = {"this project": None, "math-verify": {"math", "gsm8k"}, "verl gsm8k": {"gsm8k"}}
SCORERS: dict[str, Callable[[Row], bool]] = {
    "this project": this_project,
    "math-verify": math_verify,
    "verl math_reward": verl_math,
    "verl math_dapo": verl_dapo,
    "verl gsm8k": verl_gsm8k,
}


def corpus(name: str, split: str | None = None) -> list[Row]:
    rows = [json.loads(line) for line in (SAMPLES / CORPORA[name]).read_text(encoding="utf-8").splitlines()]
    for row in rows:
        place = "in a box" if "box" in row["response"] else "no box"
        row["task"] = row.get("verifier", "math")
        row["group"] = row["kind"] if name == "forms" else f"{row['task']}, {place}"
    return [row for row in rows if split in (None, row["split"])]


def misses(scorer: Callable[[Row], bool], rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        try:
            verdict = scorer(row)
        except Exception:  # a scorer that fails has not taken the answer
            verdict = False
        if verdict != row["correct"]:
            yield row


def table(rows: list[Row], kinds: bool) -> Table:
    """Return the counts: right ones refused + wrong ones paid."""
    found = {name: list(misses(scorer, rows_of(name, rows))) for name, scorer in SCORERS.items()}
    out = Table("kind", "right", "wrong", *found, title="right answers refused + wrong answers paid")
    for kind in sorted({row["group"] for row in rows}, key=[row["group"] for row in rows].index) if kinds else []:
        out.add_row(*line(kind, [row for row in rows if row["group"] == kind], found))
    for task in dict.fromkeys(row["task"] for row in rows):
        out.add_row(*line(f"all of {task}", [row for row in rows if row["task"] == task], found))
    return out


def rows_of(scorer: str, rows: list[Row]) -> list[Row]:
    tasks = TASKS.get(scorer, {"math"})
    return [row for row in rows if tasks is None or row["task"] in tasks]


def line(kind: str, rows: list[Row], found: dict[str, list[Row]]) -> list[str]:
    counts = []
    for scorer, missed in found.items():
        verdicts = [row["correct"] for row in rows if row in missed]
        counts.append(f"{sum(verdicts)} + {len(verdicts) - sum(verdicts)}" if rows_of(scorer, rows) else "")
    right = sum(row["correct"] for row in rows)
    return [kind, str(right), str(len(rows) - right), *counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=CORPORA, default="forms")
    parser.add_argument("--split", help="of the corpus, such as held_out or reported")
    parser.add_argument("--kinds", action="store_true", help="a row for each kind of form")
    parser.add_argument("--misses", action="store_true", help="list what this project gets wrong")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = corpus(options.corpus, options.split)
    console = Console(width=120)
    console.print(table(rows, options.kinds))
    if options.misses:
        for row in misses(this_project, rows):
            said = "refused" if row["correct"] else "paid"
            console.print(
                f"{said}: {row['kind']}: {row['gold']!r} <- {row['response']!r} ({row.get('reason', row.get('miss'))})",
                markup=False,
            )


if __name__ == "__main__":
    main()
