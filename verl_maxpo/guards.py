"""What every hook checks before it changes verl: that verl is still as it was when the hook was written."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any


def expect_parameters(module: ModuleType, name: str, *expected: list[str]) -> None:
    """Check that a function of verl takes the parameters that its hook was written for, in one of several versions.

    Raises:
        RuntimeError: It is missing, or takes other parameters.
    """
    target: Any = module
    for attribute in name.split("."):
        target = getattr(target, attribute, None)
    found = list(inspect.signature(target).parameters) if target is not None else None
    if found not in expected:
        versions = " or ".join(f"({', '.join(parameters)})" for parameters in expected)
        raise changed(module, name, f"a function of {versions}", str(found))


def changed(module: ModuleType, name: str, expected: str, found: str) -> RuntimeError:
    """Return the error that says what verl no longer has."""
    return RuntimeError(
        f"verl has changed: verl-maxpo expected {module.__name__}.{name} to be {expected}, found {found}. "
        "Use a version of verl that verl-maxpo was run with (README, Compatibility)"
    )
