"""Verifiers by name: the entry points of the group ``verl_maxpo.verifiers``.

This package declares its verifiers in ``pyproject.toml``, and any other package can add its own the same way:

    [project.entry-points."verl_maxpo.verifiers"]
    my_task = "my_package.my_module:verify"
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from types import ModuleType

from verl_maxpo.messages import did_you_mean
from verl_maxpo.rewards.result import Verifier

GROUP = "verl_maxpo.verifiers"


@cache
def _entry_points() -> EntryPoints:
    return entry_points(group=GROUP)


def verifier_names() -> list[str]:
    """Return the names of all installed verifiers."""
    return sorted(_entry_points().names)


def find_verifier(name: str) -> EntryPoint:
    """Return the entry point of a verifier, without importing it.

    Raises:
        ValueError: No installed package has the name, or several do.
    """
    points = list(dict.fromkeys(_entry_points().select(name=name)))
    if not points:
        raise ValueError(
            f"unknown verifier {name!r}{did_you_mean(name, verifier_names())}; installed are: "
            f"{', '.join(verifier_names())}"
        )
    if len(points) > 1:
        raise ValueError(f"several packages have a verifier {name!r}: {', '.join(point.value for point in points)}")
    return points[0]


def verifier_module(name: str) -> ModuleType:
    """Import the module of a verifier, which may say more about it, see :class:`.result.Verifier`."""
    return import_module(find_verifier(name).module)


@cache
def load_verifier(name: str) -> Verifier:
    """Import a verifier.

    Raises:
        ValueError: As :func:`find_verifier`.
        TypeError: The entry point is not a function.
    """
    verifier = find_verifier(name).load()
    if not callable(verifier):
        raise TypeError(f"the verifier {name!r} must be a function, got {type(verifier).__name__}")
    loaded: Verifier = verifier
    return loaded
