r"""Formulas, parsed and compared by math-verify (github.com/huggingface/Math-Verify).

What would cost too much is refused before, and what math-verify takes for equal without it being so is not: units and
words are off, relations are no sets, tiny numbers are compared relative to their size.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any, TypeAlias

from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
from math_verify import LatexExtractionConfig, parse
from math_verify import verify as math_verify_equal
from sympy import Basic, Expr, Interval, MatrixBase, nan, oo, preorder_traversal, zoo

from verl_maxpo.rewards.verifiers.answers.costs import hopeless
from verl_maxpo.rewards.verifiers.expressions import Forbidden, Unreadable

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of its time limits being off: the pool has one

Parsed: TypeAlias = Any  # SymPy's Basic or MatrixBase
_LATEX = [LatexExtractionConfig(normalization_config=NormalizationConfig(True, False, True, True, "none"))]
_DEGREES = re.compile(r"([0-9]+(?:\.[0-9]+)?|\\[a-z]+|[A-Za-z])\s*\^\{\\circ\}")
#: Two numbers that differ by less than this, relative to the larger, may be one, rounded.
CLOSE = 5e-5


def parse_formula(latex: str) -> Parsed:
    """Parse a formula; degrees are parts of π.

    Raises:
        Forbidden: It would take too long or too much memory.
        Unreadable: math-verify cannot read it.
    """
    if reason := hopeless(latex):
        raise Forbidden(reason)
    parsed = _parse(_DEGREES.sub(r"(\\frac{\1\\pi}{180})", latex))
    if parsed is None:
        raise Unreadable("math-verify cannot read it")
    return parsed


@lru_cache(maxsize=4096)  # the responses to one problem have few different answers
def _parse(latex: str) -> Parsed | None:
    try:
        found = parse(f"${latex}$", _LATEX, "no_fallback", "first_match", parsing_timeout=None, raise_on_error=True)
    except (ValueError, TypeError, AttributeError, RecursionError, ZeroDivisionError):
        return None
    return found[0] if found and isinstance(found[0], Basic | MatrixBase) else None


def same_formula(gold: str, answer: str) -> bool:
    """Return whether two formulas are equal.

    Raises:
        NotEvaluated: As :func:`parse_formula`, or SymPy cannot compare them.
        MemoryError: The comparison needs more memory than there is.
    """
    first, second = parse_formula(gold), parse_formula(answer)
    try:
        if not math_verify_equal(first, second, timeout_seconds=None, raise_on_error=True):
            return False
        return _diverges(first) or not (_diverges(second) or _far_apart(first, second))
    except MemoryError:
        raise
    except Exception as error:  # whatever SymPy raises for two things that it cannot compare
        raise Unreadable(f"SymPy cannot compare it with the ground truth: {type(error).__name__}") from error


def _diverges(parsed: Parsed) -> bool:
    r"""Return whether a term has no finite value; SymPy simplifies ``x - \infty^\pi`` to 0 for many a number x."""
    nodes = preorder_traversal(parsed)
    for node in nodes:
        if isinstance(node, Interval | Expr):
            nodes.skip()
        if isinstance(node, Expr) and node.doit().has(oo, -oo, zoo, nan):
            return True
    return False


def _far_apart(gold: Parsed, answer: Parsed) -> bool:
    """Return whether two numbers differ by more than rounding; math-verify rounds to six places, however small."""
    if not (isinstance(gold, Expr) and isinstance(answer, Expr)) or gold.free_symbols or answer.free_symbols:
        return False
    try:
        first, second = complex(gold.evalf(20)), complex(answer.evalf(20))
        return abs(first - second) > CLOSE * max(abs(first), abs(second))
    except (TypeError, ValueError, OverflowError):
        return False
