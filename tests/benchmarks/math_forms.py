"""Right answers refused and wrong answers taken, on the corpus of forms: this project beside math-verify and verl.

    python tests/benchmarks/math_forms.py [--split held_out] [--kinds] [--misses]

The corpus is tests/samples/math_forms.jsonl. math-verify is called as its documentation says (the gold answer as
LaTeX, the whole response, its default extraction); verl's scorers are ``math_reward`` (MATH) and ``math_dapo``, which
wants a line "Answer: ..." and gets the answer in that form where it is in a box.
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
from verl.utils.reward_score import math_dapo, math_reward

from verl_maxpo.rewards.verifiers import math
from verl_maxpo.rewards.verifiers.extraction import last_boxed

CORPUS = Path(__file__).parents[1] / "samples" / "math_forms.jsonl"
Row = dict[str, Any]


def this_project(row: Row) -> bool:
    return math.verify(row["response"], row["gold"], {}).correct


def math_verify(row: Row) -> bool:
    gold = parse(f"${row['gold']}$", [LatexExtractionConfig()])
    return math_verify_equal(gold, parse(row["response"]))


def verl_math(row: Row) -> bool:
    return math_reward.compute_score(row["response"], row["gold"]) > 0


def verl_dapo(row: Row) -> bool:
    box = last_boxed(row["response"])
    response = row["response"] if box is None else f"Answer: {box}"
    return bool(math_dapo.compute_score(response, row["gold"])["acc"])


SCORERS: dict[str, Callable[[Row], bool]] = {
    "this project": this_project,
    "math-verify": math_verify,
    "verl math_reward": verl_math,
    "verl math_dapo": verl_dapo,
}


def corpus(split: str | None = None) -> list[Row]:
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
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
    """Return the counts: right ones refused + wrong ones taken."""
    found = {name: list(misses(scorer, rows)) for name, scorer in SCORERS.items()}
    out = Table("kind", "right", "wrong", *found, title="right answers refused + wrong answers taken")
    names = list(dict.fromkeys(row["kind"] for row in rows)) if kinds else []
    for kind in [*names, "all"]:
        some = [row for row in rows if kind in (row["kind"], "all")]
        right = sum(row["correct"] for row in some)
        counts = []
        for missed in found.values():
            of_kind = [row["correct"] for row in missed if kind in (row["kind"], "all")]
            counts.append(f"{sum(of_kind)} + {len(of_kind) - sum(of_kind)}")
        out.add_row(kind, str(right), str(len(some) - right), *counts)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["dev", "held_out"])
    parser.add_argument("--kinds", action="store_true", help="a row for each kind of form")
    parser.add_argument("--misses", action="store_true", help="list what this project gets wrong")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = corpus(options.split)
    console = Console(width=120)
    console.print(table(rows, options.kinds))
    if options.misses:
        for row in misses(this_project, rows):
            said = "refused" if row["correct"] else "taken"
            console.print(
                f"{said}: {row['kind']}: {row['gold']!r} <- {row['response']!r} ({row['reason']})", markup=False
            )


if __name__ == "__main__":
    main()
