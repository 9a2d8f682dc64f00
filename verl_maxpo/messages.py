"""What error messages share: the nearest existing name, and overrides to paste."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a question for the nearest known name, empty where none is near."""
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def override(key: str, value: object) -> str:
    """Return an option for verl's command line; ``++`` sets it whether or not the configuration declares it."""
    text = str(value)
    return f"++{key}='{text}'" if set(text) & set(" {}[]*?") else f"++{key}={text}"
