"""What an answer can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from verl_maxpo.rewards.verifiers.answers.units import Unit


class Kind(Enum):
    """What an answer is. Comments say what its ``value`` holds."""

    NUMBER = "number"  # Number
    WORDS = "words"  # str, in lower case
    TIME = "time"  # (hour, minute, second, "am", "pm" or "")
    DATE = "date"  # (year or 0, month, day)
    RATIO = "ratio"  # tuple of Number
    BASED = "based"  # (digits, base)
    ITEMS = "items"  # tuple of Answer; ``brackets`` says of which kind
    MATRIX = "matrix"  # tuple of rows, each a tuple of Answer
    RANGES = "ranges"  # tuple of Range: a union of intervals
    FORMULA = "formula"  # LaTeX


@dataclass(frozen=True)
class Answer:
    r"""An answer.

    Attributes:
        kind: What it is.
        value: See :class:`Kind`.
        latex: The whole answer, in one notation.
        body: The answer without its surroundings, as math-verify gets it.
        brackets: Of items: ``{}``, ``()``, ``[]``, ``<>``, ``names`` (x = 1, y = 2) or empty for a list.
        name: The variable that has this value; empty for another name, such as ``f(3)`` or "Area"; else None.
        letter: The letter of the option.
        unit: What is counted or measured.
        percent: It has a percent sign.
        degrees: It has a degree sign.
        approximate: It says that it is approximate.
    """

    kind: Kind
    value: Any
    latex: str
    body: str
    brackets: str = ""
    name: str | None = None
    letter: str | None = None
    unit: Unit | None = None
    percent: bool = False
    degrees: bool = False
    approximate: bool = False


@dataclass(frozen=True)
class Range:
    """An interval."""

    low: Answer
    high: Answer
    low_open: bool
    high_open: bool

    @property
    def brackets(self) -> tuple[str, str]:
        """The bracket before it and the one after it."""
        return "(" if self.low_open else "[", ")" if self.high_open else "]"


Read = Callable[[str], Answer]


def formula(latex: str) -> Answer:
    """Return an answer that only math-verify can read."""
    return Answer(Kind.FORMULA, latex, latex, latex)
