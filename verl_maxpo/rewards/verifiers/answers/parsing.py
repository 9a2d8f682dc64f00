r"""Formulas, parsed and compared by math-verify (github.com/huggingface/Math-Verify).

Formulas that would cost too much are refused first. Constants are compared here, as math-verify rounds to six places.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any, TypeAlias

import sympy
from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
from math_verify import LatexExtractionConfig, parse
from math_verify import verify as math_verify_equal

from verl_maxpo.rewards.verifiers.answers.costs import hopeless
from verl_maxpo.rewards.verifiers.expressions import Forbidden, Unreadable

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its time limit is off; the pool has one

MAX_DIGITS = 15_000
Parsed: TypeAlias = Any  # SymPy's Basic or MatrixBase
_LATEX = [LatexExtractionConfig(normalization_config=NormalizationConfig(True, False, True, True, "none"))]
_DEGREES = re.compile(r"([0-9]+(?:\.[0-9]+)?|\\[a-z]+|[A-Za-z])\s*\^\{\\circ\}")
_ODD_ROOT = re.compile(r"\\sqrt\s*\[\s*([3579])\s*\]\s*\{\s*-([^{}+-]*)\}|\(-([0-9]+)\)\^\{1/([3579])\}")


def parse_formula(latex: str) -> Parsed:
    """Parse a formula; degrees are parts of π, odd roots of negative numbers are real.

    Raises:
        Forbidden: It would take too long or too much memory.
        Unreadable: math-verify cannot read it.
    """
    if reason := hopeless(latex):
        raise Forbidden(reason)
    latex = _ODD_ROOT.sub(lambda m: rf"(-\sqrt[{m[1] or m[4]}]{{{m[2] or m[3]}}})", latex)
    parsed = _parse(_DEGREES.sub(r"(\\frac{\1\\pi}{180})", latex))
    if parsed is None:
        raise Unreadable("math-verify cannot read it")
    return parsed


@lru_cache(maxsize=4096)  # responses to one problem share few answers
def _parse(latex: str) -> Parsed | None:
    try:
        found = parse(f"${latex}$", _LATEX, "no_fallback", "first_match", parsing_timeout=None, raise_on_error=True)
    except (ValueError, TypeError, AttributeError, RecursionError, ZeroDivisionError):
        return None
    return found[0] if found and isinstance(found[0], sympy.Basic | sympy.MatrixBase) else None


def same_formula(gold: str, answer: str) -> bool:
    """Return whether two formulas are equal.

    Raises:
        NotEvaluated: As :func:`parse_formula`, or SymPy cannot compare them.
        MemoryError: The comparison needs more memory than there is.
    """
    first, second = parse_formula(gold), parse_formula(answer)
    try:
        numbers = _number(first), _number(second)
        if None not in numbers:
            return _same_number(*numbers)
        if not math_verify_equal(first, second, timeout_seconds=None, raise_on_error=True):
            return False
        return _diverges(first) or not _diverges(second)
    except MemoryError:
        raise
    except Exception as error:  # whatever SymPy raises for two things that it cannot compare
        raise Unreadable(f"SymPy cannot compare it with the ground truth: {type(error).__name__}") from error


def _diverges(parsed: Parsed) -> bool:
    r"""Return whether a term has no finite value; SymPy simplifies ``x - \infty^\pi`` to 0 for many a number x."""
    nodes = sympy.preorder_traversal(parsed)
    for node in nodes:
        if isinstance(node, sympy.Interval | sympy.Expr):
            nodes.skip()
        if isinstance(node, sympy.Expr) and node.doit().has(sympy.oo, -sympy.oo, sympy.zoo, sympy.nan):
            return True
    return False


def _number(parsed: Parsed) -> sympy.Expr | None:
    """Return a finite number, with i for the imaginary unit, or None."""
    if not isinstance(parsed, sympy.Expr) or any(symbol.name != "i" for symbol in parsed.free_symbols):
        return None
    parsed = parsed.subs(dict.fromkeys(parsed.free_symbols, sympy.I))
    return None if parsed.has(sympy.Integral, sympy.Sum) or not parsed.is_number or _diverges(parsed) else parsed


def _same_number(gold: sympy.Expr, answer: sympy.Expr) -> bool:
    """Compare two numbers as :func:`.comparing.same_number` does; exactly means to more digits than agree by chance."""
    if gold.is_Rational and answer.is_Rational:
        return bool(gold == answer)
    size = max(
        abs(complex(sympy.log(abs(number).evalf(20), 10).evalf(5))) if number.evalf(20) else 0
        for number in (gold, answer)
    )
    digits = min(60 + 4 * int(size), MAX_DIGITS)
    first, second = gold.evalf(digits), answer.evalf(digits)
    difference, largest = abs(first - second), max(abs(first), abs(second))
    if gold.has(sympy.Float) or answer.has(sympy.Float):
        return bool(difference <= min(1, 100 * largest) * sympy.Rational(5, 10**7))
    return bool(difference <= largest * sympy.Rational(1, 10 ** (digits - 10)))
