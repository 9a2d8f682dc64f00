"""Make names for runs: distinct ones, names without the seed, and readable labels."""

from __future__ import annotations

import re
from pathlib import Path

_SEED = re.compile(r"-seed(\d+)(?=/|$)")
_RECIPE = re.compile(
    r"(?P<estimator>\w+?)(-k(?P<k>[\w.]+))?-n(?P<n>\d+)-lr(?P<lr>\d[\d.]*(e-?\d+)?)(-(?P<tag>.+))?", re.ASCII
)
_ESTIMATORS = {"maxpo": "MaxPO", "maxrl": "MaxRL", "grpo": "GRPO", "rloo": "RLOO"}


def distinct_names(paths: list[Path]) -> list[str]:
    """Return as much of the end of each path as it takes to tell all apart; ValueError if one is given twice."""
    parts = [path.resolve().with_suffix("" if path.suffix == ".jsonl" else path.suffix).parts[1:] for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"every run must be given once, got {', '.join(map(str, paths))}")


def without_seed(name: str) -> str:
    """Return the name that all seeds of a run share."""
    return _SEED.sub("", name, count=1)


def seed_of(name: str) -> str | None:
    """Return the number after ``-seed`` in a name."""
    found = _SEED.search(name)
    return found and found[1]


def trained_k(name: str) -> str | None:
    """Return the K in a run's name, if a recipe named it."""
    found = [_RECIPE.fullmatch(part) for part in without_seed(name).split("/")]
    return next((match["k"] for match in found if match), None)


def labels_of(names: list[str]) -> list[str]:
    """Return the names without seeds, and the names of the recipes' runs in readable form.

    The group size n is left out if all runs have the same. If two labels would be equal, the names stay as they are.

    >>> labels_of(["maxpo-k4-n8-lr1.5e-4-seed0", "grpo-n8-lr1e-6-warm-seed0", "base"])
    ['MaxPO, k=4, lr 1.5e-4', 'GRPO, lr 1e-6, warm', 'base']
    """
    plain = [without_seed(name) for name in names]
    recipes = [_RECIPE.fullmatch(part) for name in plain for part in name.split("/")]
    with_n = len({match["n"] for match in recipes if match}) > 1
    written = ["/".join(_as_written(part, with_n) for part in name.split("/")) for name in plain]
    return written if len(set(written)) == len(set(plain)) else plain


def _as_written(name: str, with_n: bool) -> str:
    match = _RECIPE.fullmatch(name)
    if not match:
        return name
    parts = [_ESTIMATORS.get(match["estimator"], match["estimator"])]
    parts += [f"k={match['k']}"] if match["k"] else []
    parts += [f"n={match['n']}"] if with_n else []
    return ", ".join([*parts, f"lr {match['lr']}", *([match["tag"]] if match["tag"] else [])])
