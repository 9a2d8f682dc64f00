"""Judge from the text of a formula, in linear time, what it would cost to parse or compare."""

from __future__ import annotations

import re

from verl_maxpo.rewards.verifiers.expressions import Forbidden, Grammar, Unreadable, check, depth, evaluate

MAX_DEPTH = 10  # ten nested parentheses take math-verify half a second, twenty nested sets more than a minute
MAX_EXPONENT = 100_000
MAX_FACTORIAL = 5000
MAX_EXPANSION = 50  # of a power of a sum with a variable
MAX_GROWTH = 1_000_000  # of the product of large exponents

_FORBIDDEN = re.compile(
    r"\\(?:[hv]?phantom|[bx]?cancel|sout)(?![A-Za-z])|"
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


def hopeless(answer: str) -> str | None:
    """Return why an answer would take too long or too much memory to parse or compare, or None."""
    if depth(answer) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH}"
    if _FORBIDDEN.search(answer):
        return "it defines macros or reads files"
    if _LONG_NUMBER.search(answer):
        return "a number of more than 1000 digits"
    binomials = (_size(_group(answer, match.end(), 1)) for match in _BINOMIAL.finditer(answer))
    if any(size > MAX_FACTORIAL for size in binomials) or _has_huge_factorial(answer):
        return f"a factorial or binomial above {MAX_FACTORIAL}"
    return "too large an exponent or a tower of them" if _grows(answer) else None


def _has_huge_factorial(answer: str) -> bool:
    for match in _FACTORIAL.finditer(answer):
        operand = match["operand"]
        if operand.isdigit():
            huge = int(operand) > (7 if answer[match.end() : match.end() + 1] == "!" else MAX_FACTORIAL)
        else:
            value = _value(_group(answer, match.start(), -1))
            huge = operand != "!" and value is not None and value > MAX_FACTORIAL
        if huge or answer[match.end() : match.end() + 2] == "!!":
            return True
    return False


def _grows(answer: str) -> bool:
    """Return whether a power is too large: one exponent, or the product of those that may multiply."""
    growth = 1.0
    for match in _POWER.finditer(answer):
        size = _size(_group(answer, match.end() - 1, 1) if match[1] == "{" else match[1])
        if size > MAX_EXPONENT:
            return True
        base = answer[: match.start()].rstrip()
        if size > MAX_EXPANSION and base.endswith((")", "}")) and _SUM.search(_group(base, len(base) - 1, -1)):
            return True
        if _COMPOUND.search(base) or (size > 30 and not base[-1:].isalpha()):
            growth *= max(size, 1)
    return growth > MAX_GROWTH


def _size(latex: str) -> float:
    """Bound the absolute value of a number in LaTeX; if it has a variable, return its largest number."""
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


def _group(text: str, start: int, step: int) -> str:
    """Return the content of the brace that opens at ``start``, or with step -1 of the bracket that closes there."""
    opening, closing = ("{", "}") if step > 0 else (")]}", "([{")
    level, position = 0, start
    while 0 <= position < len(text):
        level += (text[position] in opening) - (text[position] in closing)
        if level == 0:
            break
        position += step
    return text[start + 1 : position] if step > 0 else text[position + 1 : start]
