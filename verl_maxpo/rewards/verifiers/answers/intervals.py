r"""Unions of intervals, written as intervals, as solved inequalities or as a set of numbers with a condition.

An inequality is solved if it compares a bare variable with constants: ``2x - 1 > 5`` only restates the problem.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind, Range, Read, formula

MAX_PARTS = 50
VARIABLE = (
    r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|varphi|rho|omega)(?![A-Za-z]))(?:_(?:\{\s*\w+\s*\}|\w))?"
)
IS_VARIABLE = re.compile(VARIABLE)
_INTERVAL = re.compile(r"([\[\](])\s*([^,;\[\]]+?)\s*[,;]\s*([^,;\[\]]+?)\s*([\[\])])")
_RELATION = re.compile(r"\\(?:le|ge|neq)(?![A-Za-z])|<|>")
_ANY_RELATION = re.compile(_RELATION.pattern + r"|(?<!\\)=|\\(?:equiv|approx|in|mid)(?![A-Za-z])")
_BOUND_VARIABLE = re.compile(rf"(?<![\\A-Za-z]){VARIABLE}(?=\s*(?:<|>|\\(?:le|ge|neq)(?![A-Za-z])))")
_BUILDER = re.compile(rf"\\\{{\s*{VARIABLE}\s*(?:\\in\s*\\mathbb\{{R\}}\s*)?(?:\\mid(?![A-Za-z])|:|\|)\s*(.*?)\s*\\\}}")
_MEMBER = re.compile(rf"{VARIABLE}\s*\\in(?![A-Za-z])\s*(.*)")
_MINUS_POINTS = re.compile(r"\\mathbb\{R\}\s*(?:\\setminus|-)\s*\\\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\\\}")
_OR = re.compile(r"\s*\\text\s*\{\s*,?\s*or\s*\}\s*|\s+or\s+|\s*\\(?:lor|cup)(?![A-Za-z])\s*")
_AND = re.compile(r"\s*\\text\s*\{\s*,?\s*and\s*\}\s*|\s+and\s+|\s*\\land(?![A-Za-z])\s*")
_CONSTANT = re.compile(r"\\(?:frac|binom|sqrt|pi|infty|cdot|times|ln|log)(?![A-Za-z])|(?<![A-Za-z])e(?![A-Za-z])")
_MINUS_INFINITY, _INFINITY = formula(r"-\infty"), formula(r"\infty")


def is_relation(latex: str) -> bool:
    """Return whether a formula contains an equation or inequality."""
    return _ANY_RELATION.search(latex) is not None


def is_constant(latex: str) -> bool:
    """Return whether a formula has no variables."""
    return bool(latex) and not re.search("[A-Za-z]", _CONSTANT.sub("", latex))


def read_ranges(latex: str, read: Read) -> Answer | None:
    """Read a union of intervals, whose ends ``read`` reads, with the name of its variable."""
    if match := _BUILDER.fullmatch(latex):
        ranges = _union(match[1], read)
    elif match := _MEMBER.fullmatch(latex):
        ranges = _union(match[1], read, pairs=True)
    else:
        ranges = _union(latex, read)
    names = {name for name in _BOUND_VARIABLE.findall(latex) if not is_constant(name)} if not match else set()
    name = next(iter(names), None)
    return Answer(Kind.RANGES, tuple(ranges), latex, latex, name=name) if ranges and len(names) < 2 else None


def as_range(answer: Answer) -> Answer | None:
    """Return the interval that a pair such as ``(0,5)`` may be, or None."""
    if answer.kind is not Kind.ITEMS or answer.brackets not in ("()", "[]") or len(answer.value) != 2:
        return None
    (low, high), is_open = answer.value, answer.brackets == "()"
    return replace(answer, kind=Kind.RANGES, value=(Range(low, high, is_open, is_open),), brackets="")


def _union(latex: str, read: Read, *, pairs: bool = False) -> list[Range] | None:
    parts = _OR.split(latex.strip())
    pairs = pairs or len(parts) > 1
    found: list[Range] = []
    for part in parts if len(parts) <= MAX_PARTS else []:
        ranges = _interval(part, read, pairs=pairs) or _inequalities(part, read) or _all_but(part, read)
        if not ranges:
            return None
        found += ranges
    return found


def _interval(latex: str, read: Read, *, pairs: bool) -> list[Range] | None:
    r"""Read ``[0,5)``, ``]0,5[``, ``(3,\infty)``; ``(0,5)`` and ``[0,5]`` may be pairs."""
    match = _INTERVAL.fullmatch(latex)
    if not match:
        return None
    left, low, high, right = match.groups()
    if not pairs and left + right in ("()", "[]") and r"\infty" not in low + high:
        return None
    return [Range(_bound(low, read), _bound(high, read), left != "[", right != "]")]


def _bound(latex: str, read: Read) -> Answer:
    infinite = {r"-\infty": _MINUS_INFINITY, r"\infty": _INFINITY, r"+\infty": _INFINITY}
    return infinite.get(re.sub(r"\s", "", latex)) or read(latex)


def _inequalities(latex: str, read: Read) -> list[Range] | None:
    """Read an inequality, or two joined by "and"."""
    parts = _AND.split(latex)
    found = [_inequality(part, read) for part in parts[:3]]
    if len(parts) == 1:
        return found[0]
    halves = [ranges[0] for ranges in found if ranges and len(ranges) == 1]
    lows = [half for half in halves if half.high is _INFINITY]
    highs = [half for half in halves if half.low is _MINUS_INFINITY]
    if len(parts) != 2 or len(lows) != 1 or len(highs) != 1:
        return None
    return [Range(lows[0].low, highs[0].high, lows[0].low_open, highs[0].high_open)]


def _inequality(latex: str, read: Read) -> list[Range] | None:
    r"""Read ``0 < x``, ``0 < x < 5`` or ``x \neq 5``."""
    signs, sides = _RELATION.findall(latex), [side.strip() for side in _RELATION.split(latex)]
    for variable in (0, 1) if len(signs) == 1 else ():
        if IS_VARIABLE.fullmatch(sides[variable]) and is_constant(sides[1 - variable]):
            return _half_line(_bound(sides[1 - variable], read), signs[0], turned=variable == 1)
    if len(signs) != 2 or not IS_VARIABLE.fullmatch(sides[1]) or not all(map(is_constant, sides[::2])):
        return None
    if all(sign in (r"\ge", ">") for sign in signs):
        signs, sides = signs[::-1], sides[::-1]
    elif not all(sign in (r"\le", "<") for sign in signs):
        return None
    return [Range(_bound(sides[0], read), _bound(sides[2], read), signs[0] in "<>", signs[1] in "<>")]


def _half_line(bound: Answer, sign: str, *, turned: bool) -> list[Range]:
    below = Range(_MINUS_INFINITY, bound, low_open=True, high_open=sign in "<>")
    above = Range(bound, _INFINITY, low_open=sign in "<>", high_open=True)
    if sign == r"\neq":
        return [replace(below, high_open=True), replace(above, low_open=True)]
    return [below if (sign in (r"\le", "<")) != turned else above]


def _all_but(latex: str, read: Read) -> list[Range] | None:
    r"""Read ``\mathbb{R}`` and ``\mathbb{R} \setminus \{2, 3\}``."""
    if latex == r"\mathbb{R}":
        return [Range(_MINUS_INFINITY, _INFINITY, low_open=True, high_open=True)]
    match = _MINUS_POINTS.fullmatch(latex)
    points = [read(part) for part in match[1].split(",")] if match else []
    if len(points) > 1:
        if any(point.kind is not Kind.NUMBER for point in points):
            return None
        points.sort(key=lambda point: point.value.value)
    ends = [_MINUS_INFINITY, *points, _INFINITY]
    return [Range(low, high, low_open=True, high_open=True) for low, high in pairwise(ends)] if points else None
