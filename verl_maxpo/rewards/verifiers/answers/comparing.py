r"""Decide whether an answer is the gold answer.

A response may leave out what surrounds the gold answer: a unit, a percent sign, a base, a name, an option's letter. It
may add these only if that does not change the value. math-verify compares formulas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Context, Decimal
from fractions import Fraction
from math import gcd

from verl_maxpo.rewards.verifiers.answers.intervals import as_range, is_constant, is_relation
from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind, Range
from verl_maxpo.rewards.verifiers.answers.literals import TEXT
from verl_maxpo.rewards.verifiers.answers.numerals import Number
from verl_maxpo.rewards.verifiers.answers.parsing import same_formula
from verl_maxpo.rewards.verifiers.answers.reading import chain, read
from verl_maxpo.rewards.verifiers.answers.voting import canonical, squash

MAX_MATCHES = 6  # items of a set that are compared with all others, perhaps by math-verify

_DERIVATIVE = r"\\frac\s*\{\s*(?:\\text\{)?d\}?\s*\}\s*\{\s*(?:\\text\{)?d"
_QUESTION = re.compile(rf"\\(?:int|iint|oint|sum|prod|lim)(?![A-Za-z])|{_DERIVATIVE}")
_FUNCTION = re.compile(
    r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|ln|exp|gcd|det|lfloor|lceil|max|min|operatorname)(?![A-Za-z])"
    r"|(?<![A-Za-z\\])(?:arc)?(?:sin|cos|tan|log|ln|gcd|lcm|max|min)(?![a-z])|\\begin\{vmatrix"
)
_PLAIN = r"[0-9]+(?:\.[0-9]+)?"
_TIMES = re.compile(
    rf"(?<![0-9.^!])(?<!\^\{{){_PLAIN}\s*(?:\\cdot|\\times|\\div)\s*{_PLAIN}(?![0-9.]|\s*[\^!])"
    r"|\)\s*\(|\\div(?![A-Za-z])|[0-9]\s+[0-9]"
)
_SUM = re.compile(r"(?<=[0-9A-Za-z)}\]!])\s*[-+]")
_VARIABLE = re.compile(r"(?<![A-Za-z\\])[a-df-hj-z](?![A-Za-z])")
_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_LETTERS = tuple("ABCDEFGHIJ")
_PRIME = re.compile(r"['\"]|\\prime")


def same(gold: Answer, answer: Answer) -> bool:
    """Return whether an answer is the gold answer.

    Raises:
        NotEvaluated: Comparing it would be unsafe or too costly, or math-verify cannot read it.
    """
    letters = [a.letter or (a.body if a.body in _LETTERS else None) for a in (gold, answer)]  # C is (C) 12
    if all(letters):
        return letters[0] == letters[1]
    if _other_name(gold, answer) or (answer.approximate and not gold.approximate):
        return False
    if answer.kind is Kind.FORMULA and (value := _value_of_chain(answer.latex)):
        return same(gold, value)
    if gold.unit and answer.unit and gold.unit.dimension and answer.unit.dimension:
        if gold.unit.dimension != answer.unit.dimension:
            return False
        gold, answer = _in_base_units(gold), _in_base_units(answer)
    return _same_kind(gold, answer) if gold.kind is answer.kind else _other_kind(gold, answer)


def _value_of_chain(latex: str) -> Answer | None:
    r"""Return the value of ``A = \pi \cdot 3^2 = 9\pi``, if every step is true."""
    parts = [part.strip() for part in latex.split("=")]
    *working, value = chain(parts)
    if not 0 < len(working) < MAX_MATCHES or not all(map(is_constant, (*working, value))):
        return None
    name = f"{parts[0]} = " if len(working) + 1 < len(parts) else ""
    return read(name + value) if all(same_formula(value, part) for part in working) else None


def _other_name(gold: Answer, answer: Answer) -> bool:
    """Return whether two constants are values of different variables; y and f(x) may name one function."""
    if not (gold.name and answer.name and gold.name != answer.name):
        return False
    return is_constant(gold.body) or gold.kind in (Kind.ITEMS, Kind.RANGES)


def _in_base_units(answer: Answer) -> Answer:
    if answer.kind is not Kind.NUMBER or not answer.unit:
        return answer
    return replace(answer, value=replace(answer.value, value=answer.value.value * answer.unit.factor))


def _same_kind(gold: Answer, answer: Answer) -> bool:
    if compare := _COMPARISONS.get(gold.kind):
        return compare(gold, answer)
    match gold.kind:
        case Kind.TIME if not answer.value[3] and gold.value[:3] == answer.value[:3]:  # a.m. or p.m. may be left out
            return True
        case Kind.DATE:
            return bool(gold.value[1:] == answer.value[1:] and 0 in (gold.value[0] - answer.value[0], answer.value[0]))
        case Kind.RANGES:
            return _matched(gold.value, answer.value)
    return canonical(gold) == canonical(answer)


def _same_measure(gold: Answer, answer: Answer) -> bool:
    """Compare two numbers; the answer may leave out the gold answer's percent sign."""
    signs = {answer.percent, answer.percent or gold.percent}
    return any(same_number(_share(gold.value, gold.percent), _share(answer.value, sign)) for sign in signs)


def _share(number: Number, percent: bool) -> Number:
    return replace(number, value=number.value / 100) if percent else number


def same_number(gold: Number, answer: Number) -> bool:
    """Compare two numbers exactly, or if one is a decimal, to six places (five digits below 1/100)."""
    if gold.value == answer.value:
        return True
    if not (gold.decimal or answer.decimal):
        return False
    size = min(Fraction(1), 100 * max(abs(gold.value), abs(answer.value)))
    return abs(gold.value - answer.value) <= size * Fraction(5, 10**7)


def _same_items(gold: Answer, answer: Answer) -> bool:
    """Compare two lists. Sets are unordered, tuples and vectors ordered; a list without braces may be either."""
    kinds = {gold.brackets, answer.brackets}
    if kinds <= {"", "{}"}:
        once = "{}" in kinds  # a set has each item once
        return _matched(
            *(tuple({canonical(i): i for i in a.value}.values()) if once else a.value for a in (gold, answer))
        )
    return not ("{}" in kinds or kinds >= {"()", "[]"}) and _same_row(gold.value, answer.value)


def _matched(gold: Sequence[Answer | Range], answer: Sequence[Answer | Range]) -> bool:
    """Return whether each item has an equal one, in any order. Canonical texts are compared first."""
    rest, unmatched = [(canonical(item), item) for item in answer], []
    for item in gold:
        text = canonical(item)
        twin = next((other for other in rest if other[0] == text), None)
        rest.remove(twin) if twin else unmatched.append(item)
    if len(rest) != len(unmatched) or len(unmatched) > MAX_MATCHES:
        return False
    for item in unmatched:
        twin = next((other for other in rest if _same_item(item, other[1])), None)
        if not twin:
            return False
        rest.remove(twin)
    return True


def _same_item(gold: Answer | Range, answer: Answer | Range) -> bool:
    if isinstance(gold, Range) and isinstance(answer, Range):
        return gold.brackets == answer.brackets and same(gold.low, answer.low) and same(gold.high, answer.high)
    return isinstance(gold, Answer) and isinstance(answer, Answer) and same(gold, answer)


def _same_matrix(gold: Answer, answer: Answer) -> bool:
    """Compare two matrices entry by entry; a vector may be a row or a column."""
    if (one := _vector(gold)) and (other := _vector(answer)):
        return _same_row(one, other)
    return len(gold.value) == len(answer.value) and all(map(_same_row, gold.value, answer.value))


def _same_row(gold: Sequence[Answer], answer: Sequence[Answer]) -> bool:
    return len(gold) == len(answer) and all(map(same, gold, answer))


def _vector(answer: Answer) -> tuple[Answer, ...] | None:
    """Return the entries of a row, a column, a tuple or a list, or None."""
    if answer.kind is Kind.ITEMS and answer.brackets != "{}" and len(answer.value) > 1:
        return tuple(answer.value)
    if answer.kind is not Kind.MATRIX:
        return None
    if len(answer.value) == 1:
        return tuple(answer.value[0])
    return tuple(row[0] for row in answer.value) if all(len(row) == 1 for row in answer.value) else None


def _same_formula(gold: Answer, answer: Answer) -> bool:
    """Compare two formulas by their text, then by math-verify."""
    if squash(gold.body) == squash(answer.body):
        return True
    primes = [len(_PRIME.findall(a.body)) for a in (gold, answer)]
    if _words(gold) != _words(answer) or primes[0] != primes[1] or is_unevaluated(gold, answer):
        return False
    one, other = is_relation(gold.body), is_relation(answer.body)
    if one == other:
        return same_formula(gold.body, answer.body)
    if gold.name is None and answer.name is None:
        return False  # an equation is not the value of its right-hand side
    return not is_constant(gold.body) and same_formula(gold.latex, answer.latex)


def _words(answer: Answer) -> list[str]:
    return [" ".join(words.lower().split()) for words in TEXT.findall(answer.body)]


def is_unevaluated(gold: Answer, answer: Answer) -> bool:
    r"""Return whether an answer leaves to the verifier what the problem may have asked for.

    That is an integral, a sum, a limit or a derivative that the gold answer does not have; a function of constants
    where it has none; and for a number, a sum, a difference, a product or a quotient of plain numbers. Powers,
    roots, factorials, binomials and products of them are closed forms.
    """
    if answer.kind is not Kind.FORMULA:
        return False
    if _QUESTION.search(answer.body) and not _QUESTION.search(gold.body):
        return True
    if _FUNCTION.search(answer.body) and not _FUNCTION.search(gold.body) and not _VARIABLE.search(answer.body):
        return True
    return gold.kind is Kind.NUMBER and bool(_TIMES.search(answer.body) or _SUM.search(answer.body))


def _other_kind(gold: Answer, answer: Answer) -> bool:
    """Compare two answers that are written as different kinds of things."""
    if {gold.kind, answer.kind} == {Kind.NUMBER, Kind.FORMULA}:
        return _number_and_formula(gold, answer)
    if Kind.RANGES in (gold.kind, answer.kind):
        one, other = (as_range(a) if a.kind is Kind.ITEMS else a for a in (gold, answer))
        if one is None or other is None or one.kind is not other.kind:
            return False
        return _matched(one.value, other.value)
    if Kind.MATRIX in (gold.kind, answer.kind):
        return _matrix_and_other(gold, answer)
    if gold.kind is Kind.BASED:
        return bool(answer.body.lstrip("0") == gold.value[0])
    if answer.kind is Kind.BASED:
        return bool(answer.value[1] == 10 and gold.body == answer.value[0])
    if Kind.ITEMS in (gold.kind, answer.kind):
        return _items_and_other(gold, answer)
    if {gold.kind, answer.kind} <= {Kind.RATIO, Kind.TIME, Kind.NUMBER}:
        return _ratio_and_other(gold, answer)
    if gold.letter or answer.letter:
        return squash(gold.body) == squash(answer.body)
    if {gold.kind, answer.kind} == {Kind.WORDS, Kind.FORMULA}:
        return gold.body.isalpha() != answer.body.isalpha() and _same_formula(gold, answer)
    return False


def _number_and_formula(gold: Answer, answer: Answer) -> bool:
    if gold.degrees != answer.degrees and r"\pi" in gold.body + answer.body:
        return same_formula(gold.latex, answer.latex)
    if _PRIME.search(answer.body) or is_relation(answer.body) or is_relation(gold.body):
        return False
    if is_unevaluated(gold, answer) or _words(gold) != _words(answer):
        return False
    return same_formula(_body(gold), _body(answer))


def _body(answer: Answer) -> str:
    if answer.kind is not Kind.NUMBER:
        return answer.body
    value = answer.value.value
    exact = Context(prec=600).divide(Decimal(value.numerator), Decimal(value.denominator))
    return f"{exact:f}" if answer.value.decimal else str(value)


def _matrix_and_other(gold: Answer, answer: Answer) -> bool:
    if match := _BINOMIAL.fullmatch(answer.body):
        return [squash(entry.body) for entry in _vector(gold) or ()] == [*map(squash, match.groups())]
    if (one := _vector(gold)) and (other := _vector(answer)):
        return _same_row(one, other)
    if Kind.FORMULA in (gold.kind, answer.kind):
        return not is_unevaluated(gold, answer) and same_formula(gold.latex, answer.latex)
    return False


def _items_and_other(gold: Answer, answer: Answer) -> bool:
    """Compare a set of one with its element."""
    one, other = (a.value[0] if a.kind is Kind.ITEMS and len(a.value) == 1 else a for a in (gold, answer))
    return Kind.ITEMS not in (one.kind, other.kind) and same(one, other)


def _ratio_and_other(gold: Answer, answer: Answer) -> bool:
    """Compare ``2:3`` with 2/3; ``10:30`` may be a time, so it is a ratio only in the same terms."""
    for one, other in ((gold, answer), (answer, gold)):
        if other.kind is not Kind.NUMBER:
            continue
        if one.kind is Kind.RATIO and len(one.value) == 2 and one.value[1].value:
            return bool(one.value[0].value / one.value[1].value == other.value.value)
        if one.kind is Kind.TIME and not one.value[3] and gcd(one.value[0], one.value[1]) == 1:
            return bool(one.value[1] and Fraction(one.value[0], one.value[1]) == other.value.value)
    return False


_COMPARISONS = {
    Kind.NUMBER: _same_measure, Kind.ITEMS: _same_items, Kind.MATRIX: _same_matrix, Kind.FORMULA: _same_formula
}  # fmt: skip
