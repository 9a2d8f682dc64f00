"""The tables of the documentation that are generated from the code.

python tests/support/tables.py    # writes them, PYTHONPATH=tests
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path

from verl_maxpo.best_of_k.baselines import BASELINES, Baseline
from verl_maxpo.trainer.config import MaxPOConfig

ROOT = Path(__file__).parents[2]

MAXRL = (
    "| `l2o`, `k: all` | sum over k < n of q_i - M_k(S-i); (g_i - mean)/mean for rewards of 0 and 1 | MaxRL, "
    "arXiv:2602.02710, extended here to real rewards | 2 | unbiased for the sum of max@k / k, k < n | yes | yes | | |"
)


def baselines_table() -> str:
    header = (
        "| `baseline` | advantage A_i | source | smallest n | gradient | centred | shift-invariant | k = 1 | k = n |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    rows = [_baseline_row(name, baseline) for name, baseline in BASELINES.items()]
    return "\n".join([header, rows[0], MAXRL, *rows[1:]])


def _baseline_row(name: str, baseline: Baseline) -> str:
    cells = [
        f"`{name}`",
        baseline.advantage,
        baseline.source,
        f"k + {baseline.spare}" if baseline.spare else "k",
        baseline.gradient,
        "yes" if baseline.centred else "no",
        "yes" if baseline.shift_invariant else "no",
        baseline.at_k_1,
        baseline.at_k_n,
    ]
    return f"| {' | '.join(cells)} |"


def options_table() -> str:
    """Return the options under ``algorithm.maxpo``, from the docstring that explains them."""
    _, _, attributes = (inspect.getdoc(MaxPOConfig) or "").partition("Attributes:\n")
    meaning = {
        match[1]: " ".join(match[2].split())
        for match in re.finditer(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    }
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in fields(MaxPOConfig):
        if option.init:
            rows.append(f"| `algorithm.maxpo.{option.name}` | {_shown(option.default)} | {meaning[option.name]} |")
    return "\n".join(rows)


def _shown(default: object) -> str:
    if default is MISSING:
        return "required (8 in `maxpo_trainer`)"
    return "`null`" if default is None else f"`{str(default).lower()}`"


#: Which table stands in which file, between ``<!-- name -->`` and ``<!-- /name -->``.
TABLES = {"docs/mathematics.md": {"baselines": baselines_table}, "README.md": {"options": options_table}}


def with_tables(file: str) -> str:
    """Return the text of a file with its tables as they should be."""
    text = (ROOT / file).read_text()
    for name, table in TABLES[file].items():
        before, rest = text.split(f"<!-- {name} -->\n")
        _, after = rest.split(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{table()}\n<!-- /{name} -->{after}"
    return text


if __name__ == "__main__":
    for name in TABLES:
        (ROOT / name).write_text(with_tables(name))
