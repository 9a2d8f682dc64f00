"""Entries of reasoning-gym as text."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from datetime import date, time
from enum import Enum
from fractions import Fraction
from typing import Any

from verl_maxpo.rewards.verifiers.extraction import shorten


def entry_to_text(entry: Mapping[str, Any]) -> str:
    """Write an entry of reasoning-gym as a Python literal, which survives any file format.

    Subclasses of built-in types, enumerations and NumPy scalars become plain values; dates and fractions become text.

    Raises:
        ValueError: The entry has something that no literal can express.
    """
    plain = _plain(entry)
    text = repr(plain)
    try:
        same = ast.literal_eval(text) == plain
    except (ValueError, SyntaxError):
        same = False
    if not same:
        raise ValueError(f"the entry does not survive as a literal: {shorten(text)}")
    return text


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return _plain(value.value)
        case None | bool():
            return value
        case str() | int() | float():
            return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))
        case Fraction():
            return str(value)
        case date() | time():
            return value.isoformat()
        case Mapping():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [*map(_plain, value)] if isinstance(value, list) else tuple(map(_plain, value))
        case set() | frozenset():
            return {_plain(item) for item in value}
    if hasattr(value, "tolist"):  # an array or a scalar of NumPy
        return _plain(value.tolist())
    raise ValueError(f"an entry cannot have a {type(value).__name__}")
