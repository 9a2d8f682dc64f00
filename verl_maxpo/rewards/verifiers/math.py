r"""Mathematical answers, compared by math-verify (github.com/huggingface/Math-Verify).

A response has one final answer: its last ``\boxed{...}``, or, without a box, what follows "answer is" or "answer:", or
the last formula, or the last number of its last 300 characters. math-verify is given that answer alone, and only if
it is cheap to parse. It therefore cannot choose among several answers, as it does with a whole response, and an
enumeration such as ``\boxed{1} \boxed{2} ...`` gains nothing; "5 or 6" is the set of both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig
from math_verify import parse as parse_latex
from math_verify import verify as equivalent
from sympy import Basic, Expr, Interval, MatrixBase, nan, oo, preorder_traversal, zoo

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.expressions import Forbidden, Grammar, Unreadable, check, depth, evaluate
from verl_maxpo.rewards.verifiers.extraction import last_boxed, shorten, squeeze, tail

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of its time limits being off: the pool has one

MAX_LENGTH = 2000
MAX_DEPTH = 10  # ten nested parentheses take math-verify half a second, twenty nested sets more than a minute
MAX_EXPONENT = 100_000
MAX_FACTORIAL = 5000
MAX_EXPANSION = 50  # of a power of a sum with a variable
MAX_GROWTH = 1_000_000  # of the product of large exponents

_LATEX = [LatexExtractionConfig()]
_DELIMITERS = re.compile(r"(?<!\\)\$|\\[()\[\]]")
_PERCENT = re.compile(r"\s*(?:\\?%|\bpercent\b|\bpct\b)[.\s]*$")
_ANSWER_IS = re.compile(r"(?i:\banswer)\s*(?:is|:|=)\s*:?\s*")
_REPEATING = re.compile(r"(?P<whole>[0-9]{0,15})\.(?P<fixed>[0-9]{0,15})\\overline\s*\{\s*(?P<period>[0-9]{1,15})\s*\}")
_WORD = re.compile(r"(?<![\\A-Za-z])(?!and\b)[A-Za-z]{3,}")
_ITEM = (
    r"(?:\$\$?[^$]+\$\$?|\\\((?:[^\\]|\\(?!\)))*\\\)|\\\[(?:[^\\]|\\(?!\]))*\\\]"
    r"|-?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?(?:\s*\\?%)?)"
)
_LIST = re.compile(rf"{_ITEM}(?:\s*(?:,?\s*\b(?:and|or)\b|,)\s*{_ITEM})*")
_FORBIDDEN = re.compile(
    r"\\(?:re|provide)?newcommand|\\[egx]?def\b|\\let\b|\\input|\\include|\\write|\\csname|\\catcode|\\loop|\\DeclareMath"
)
_POWER = re.compile(r"\^\s*(\{|-?[0-9]+|.)", re.DOTALL)
_COMPOUND = re.compile(r"(?:[)}\]]|\^\s*[0-9]+)\s*$")  # a base that may be a power itself
_SUM = re.compile(r"[a-zA-Z][^\\]*[+-]|[+-][^\\]*[a-zA-Z]")
_FACTORIAL = re.compile(r"(?P<operand>[0-9]+|[)}\]!])\s*!")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*(?=\{)")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ARITHMETIC = (("{", "("), ("}", ")"), ("^", "**"), ("\\cdot", "*"), ("\\times", "*"))
_INFINITY = float("inf")
_LONG_NUMBER = re.compile(r"[0-9]{1001}")


def verify(
    response: str, ground_truth: Any, extra_info: Mapping[str, Any], *, boxed_only: bool = False
) -> VerifierResult:
    r"""Compare the final answer of a response with the ground truth.

    Args:
        response: The response.
        ground_truth: A number, an answer in LaTeX, or a solution text, of which the last ``\boxed{...}`` is the answer.
        extra_info: Not used.
        boxed_only: A response without a box has no answer.

    Returns:
        The result; ``format_ok`` says that the answer is in a box, ``answer`` is SymPy's text of it where it was read.

    Raises:
        ValueError: math-verify cannot read the ground truth.
        MemoryError: The comparison needs more memory than there is.
    """
    truth = _text_of(ground_truth)
    _gold(truth)
    boxed = last_boxed(response)
    answer = _unboxed(tail(response)) if boxed is None and not boxed_only else boxed
    if answer is None:
        return reject(Status.NO_ANSWER, "no \\boxed answer" if boxed_only else "no answer")
    if len(answer) > MAX_LENGTH:
        return reject(Status.REFUSED, f"an answer of more than {MAX_LENGTH} characters", format_ok=boxed is not None)
    answer = _strip(answer)
    return _compare(answer, truth, format_ok=boxed is not None)


def prepare(**options: Any) -> None:
    """Parse and compare once, so that no process spends a tenth of a second on its first answer."""
    verify("\\boxed{\\frac{1}{2}}", "0.5", {})


def keeps_state(**options: Any) -> bool:
    """Say that no response changes the verdict on the next."""
    return False


def examples(ground_truth: Any, extra_info: Mapping[str, Any], **options: Any) -> tuple[str, str]:
    """Return a right and a wrong response, for the check of a data set."""
    text = _text_of(ground_truth)
    boxed = last_boxed(text)
    return f"\\boxed{{{text if boxed is None else boxed}}}", "\\boxed{-271828.1828}"


@lru_cache(maxsize=4096)  # the responses to one problem have few different answers
def _compare(answer: str, ground_truth: str, *, format_ok: bool) -> VerifierResult:
    gold_text, gold = _gold(ground_truth)
    if answer == gold_text:
        return accept(_canonical(gold, answer), correct=True, format_ok=format_ok)
    if reason := _hopeless(answer):
        return reject(Status.REFUSED, reason, shorten(answer), format_ok=format_ok)
    parsed = _parse(answer)
    if parsed is None:
        return reject(Status.UNPARSEABLE, "math-verify cannot read it", shorten(answer), format_ok=format_ok)
    try:
        correct = _equal(gold, parsed)
    except MemoryError:
        raise
    except Exception as error:  # whatever SymPy raises for two things that it cannot compare
        message = f"SymPy cannot compare it with the ground truth: {type(error).__name__}"
        return reject(Status.UNPARSEABLE, message, shorten(answer), format_ok=format_ok)
    return accept(_canonical(parsed, answer), correct=correct, format_ok=format_ok)


def _equal(gold: Basic | MatrixBase, parsed: Basic | MatrixBase) -> bool:
    if not equivalent(gold, parsed, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True):
        return False
    return _diverges(gold) or not _diverges(parsed)


def _diverges(parsed: Basic | MatrixBase) -> bool:
    r"""Return whether a term has no finite value; SymPy simplifies ``x - \infty^\pi`` to 0 for many a number x."""
    nodes = preorder_traversal(parsed)
    for node in nodes:
        if isinstance(node, Interval | Expr):
            nodes.skip()
        if isinstance(node, Expr) and node.doit().has(oo, -oo, zoo, nan):
            return True
    return False


def _unboxed(text: str) -> str | None:
    """Return the final answer of a text without a box: of several joined by a comma, "and" or "or" all of them."""
    phrases = _ANSWER_IS.split(text)[1:]
    if phrases:
        phrase = phrases[-1].partition("\n")[0].strip(" *").removesuffix(".")
        if phrase and not _WORD.search(phrase):
            return phrase
        if found := _LIST.search(phrase):
            return found[0]
    lists = [match[0] for match in _LIST.finditer(text)]
    return lists[-1] if lists else None


def _strip(answer: str) -> str:
    """Return an answer without delimiters of formulas and superfluous spaces."""
    return _REPEATING.sub(_as_fraction, squeeze(_DELIMITERS.sub(" ", answer)))


def _as_fraction(decimal: re.Match[str]) -> str:
    r"""Return ``0.1\overline{6}`` as ``\frac{15}{90}``, since math-verify cannot read it."""
    fixed = decimal["whole"] + decimal["fixed"]
    numerator = int(fixed + decimal["period"]) - int(fixed or "0")
    denominator = (10 ** len(decimal["period"]) - 1) * 10 ** len(decimal["fixed"])
    return rf"\frac{{{numerator}}}{{{denominator}}}"


def _text_of(ground_truth: Any) -> str:
    if isinstance(ground_truth, bool) or not isinstance(ground_truth, str | int | float):
        raise ValueError(f"ground_truth must be a text or a number, got {type(ground_truth).__name__}")
    return str(ground_truth)


@lru_cache(maxsize=4096)
def _gold(ground_truth: str) -> tuple[str, Basic | MatrixBase]:
    boxed = last_boxed(ground_truth)
    text = _strip(ground_truth if boxed is None else boxed)
    parsed = _parse(text)
    if parsed is None:
        raise ValueError(f"math-verify cannot read the ground_truth {shorten(ground_truth)!r}: give an answer in LaTeX")
    return text, parsed


def _parse(answer: str) -> Basic | MatrixBase | None:
    percent = _PERCENT.search(answer)
    formula = f"${answer[: percent.start()]}$\\%" if percent else f"${answer}$"
    try:
        found = parse_latex(formula, _LATEX, "no_fallback", "first_match", parsing_timeout=None, raise_on_error=True)
    except (ValueError, TypeError, AttributeError, RecursionError, ZeroDivisionError):
        return None
    return found[0] if found and isinstance(found[0], Basic | MatrixBase) else None


def _canonical(parsed: Basic | MatrixBase, text: str) -> str:
    try:
        return str(parsed)
    except (ValueError, RecursionError):  # an integer of more than 4300 digits
        return text


def _hopeless(answer: str) -> str | None:
    """Return why an answer would take too long or too much memory to parse or compare, or None."""
    if depth(answer) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH}"
    if _FORBIDDEN.search(answer):
        return "it defines macros or reads files"
    if _LONG_NUMBER.search(answer):
        return "a number of more than 1000 digits"
    if _has_huge_binomial(answer) or _has_huge_factorial(answer):
        return f"a factorial or binomial above {MAX_FACTORIAL}"
    return "too large an exponent or a tower of them" if _grows(answer) else None


def _has_huge_binomial(answer: str) -> bool:
    return any(_size(_group_after(answer, m.end())) > MAX_FACTORIAL for m in _BINOMIAL.finditer(answer))


def _has_huge_factorial(answer: str) -> bool:
    for match in _FACTORIAL.finditer(answer):
        operand = match["operand"]
        if operand.isdigit():
            huge = int(operand) > (7 if answer[match.end() : match.end() + 1] == "!" else MAX_FACTORIAL)
        else:
            value = _value(_group_before(answer, match.start()))
            huge = operand != "!" and value is not None and value > MAX_FACTORIAL
        if huge or answer[match.end() : match.end() + 2] == "!!":
            return True
    return False


def _grows(answer: str) -> bool:
    """Return whether a power is too large: one exponent, or the product of those that may multiply."""
    growth = 1.0
    for match in _POWER.finditer(answer):
        size = _size(_group_after(answer, match.end() - 1) if match[1] == "{" else match[1])
        if size > MAX_EXPONENT:
            return True
        base = answer[: match.start()].rstrip()
        if size > MAX_EXPANSION and base.endswith((")", "}")) and _SUM.search(_group_before(base, len(base) - 1)):
            return True
        if _COMPOUND.search(base) or (size > 30 and not base[-1:].isalpha()):
            growth *= max(size, 1)
    return growth > MAX_GROWTH


def _size(latex: str) -> float:
    """Return a bound of the absolute value of a number in LaTeX; one with a name counts by its largest number."""
    value = _value(latex)
    if value is not None:
        return value
    has_name = re.search("[A-Za-z]", _COMMAND.sub("", latex)) is not None
    if "!" in latex or ("^" in latex and not has_name):
        return _INFINITY
    return max((int(digits) for digits in re.findall("[0-9]+", latex)), default=0)


def _value(latex: str) -> float | None:
    """Return the absolute value of a number written in LaTeX, None if it is not one, infinity if it is huge."""
    for command, sign in _ARITHMETIC:
        latex = latex.replace(command, sign)
    if not re.fullmatch(r"[0-9+\-*/(). ]+", latex):
        return None
    try:
        return float(abs(evaluate(check(latex, Grammar(powers=MAX_EXPONENT)))))
    except Unreadable:
        return None
    except (Forbidden, OverflowError):
        return _INFINITY


def _group_after(text: str, start: int) -> str:
    """Return what the brace at ``start`` encloses."""
    level = 0
    for position in range(start, len(text)):
        level += {"{": 1, "}": -1}.get(text[position], 0)
        if level == 0:
            return text[start + 1 : position]
    return text[start + 1 :]


def _group_before(text: str, end: int) -> str:
    """Return what the bracket that closes at ``end`` encloses."""
    level = 0
    for position in range(end, -1, -1):
        level += 1 if text[position] in ")]}" else -1 if text[position] in "([{" else 0
        if level == 0:
            return text[position + 1 : end]
    return text[:end]
