"""One text for equal answers, so that they vote together."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache

from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind, Range
from verl_maxpo.rewards.verifiers.answers.reading import MAX_LENGTH, read

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,299})")
_SINGLE = re.compile(r"([_^]|\\pmod)\s*\{\s*([0-9A-Za-z])\s*\}")
_PRODUCT = re.compile(r"\s*\\(?:cdot|times)\s*(?=\\|[A-Za-z(])")


def canonical_answer(text: str) -> str:
    r"""Return the same text for equal answers: ``42``, ``42.0``, ``x = 42`` and ``$42$`` all give ``42``.

    Numbers become exact fractions, percentages their value; sets are sorted; units and names are left out. Formulas are
    equal if their LaTeX is, up to notation. Nothing is parsed as mathematics or evaluated, so a million answers take
    seconds to minutes.
    """
    if _INTEGER.fullmatch(text):
        return text if text != "-0" else "0"
    return text.strip() if len(text) > MAX_LENGTH else _cached(text)


_cached = lru_cache(maxsize=65536)(lambda text: canonical(read(text)))


def canonical(answer: Answer | Range) -> str:
    """Return the canonical text of an answer."""
    if isinstance(answer, Range):
        left, right = answer.brackets
        return f"{left}{canonical(answer.low)}, {canonical(answer.high)}{right}"
    if answer.letter and answer.body == answer.letter:
        return answer.letter
    match answer.kind:
        case Kind.NUMBER:
            return str(answer.value.value / 100 if answer.percent else answer.value.value)
        case Kind.WORDS:
            return str(answer.value)
        case Kind.TIME:
            hour, minute, second, half = answer.value
            hour = hour % 12 + 12 * (half == "pm") if half else hour
            return f"{hour}:{minute:02}:{second:02}" if second else f"{hour}:{minute:02}"
        case Kind.DATE:
            return "-".join(f"{part:02}" for part in answer.value if part)
        case Kind.RATIO:
            values = [number.value for number in answer.value]
            scale = Fraction(math.lcm(*(v.denominator for v in values)), math.gcd(*(v.numerator for v in values)) or 1)
            return ":".join(str(value * scale) for value in values)
        case Kind.BASED:
            return "{}_{{{}}}".format(*answer.value)
        case Kind.ITEMS:
            return _items(answer)
        case Kind.MATRIX:
            return _matrix(answer.value)
        case Kind.RANGES:
            return r" \cup ".join(sorted(map(canonical, answer.value)))
    return squash(answer.body)


def squash(latex: str) -> str:
    r"""Return a formula without spaces, superfluous braces and signs of multiplication."""
    latex = _PRODUCT.sub(" ", _SINGLE.sub(r"\1\2", latex))
    return re.sub(r"\s+(?![A-Za-z])|(?<![A-Za-z])\s+", "", latex)


def _items(answer: Answer) -> str:
    items = [canonical(item) for item in answer.value]
    if answer.brackets not in ("", "{}"):
        return f"[{', '.join(items)}]" if answer.brackets == "[]" else f"({', '.join(items)})"
    return items[0] if len(items) == 1 else rf"\{{{', '.join(sorted(items))}\}}"


def _matrix(rows: tuple[tuple[Answer, ...], ...]) -> str:
    texts = [", ".join(map(canonical, row)) for row in rows]
    if len(rows) == 1 or all(len(row) == 1 for row in rows):
        return f"({', '.join(texts)})"
    return f"[{', '.join(f'[{text}]' for text in texts)}]"
