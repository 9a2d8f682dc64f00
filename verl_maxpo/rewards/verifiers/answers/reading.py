r"""Read an answer: what kind of thing it is, its exact value where that is cheap, and what stands around it.

What surrounds the answer is taken off and remembered: words that lead in, the letter of an option, a name as in
``x = 5``, currency, unit, percent and degree signs. The first reader that knows the rest decides its kind. If none
does, it is a formula for math-verify. Only arithmetic with small integers is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from verl_maxpo.rewards.verifiers.answers import intervals, lists, literals
from verl_maxpo.rewards.verifiers.answers.intervals import IS_VARIABLE, VARIABLE
from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind, formula
from verl_maxpo.rewards.verifiers.answers.notation import clean, strip_punctuation
from verl_maxpo.rewards.verifiers.answers.numerals import SCALES, read_number
from verl_maxpo.rewards.verifiers.answers.units import leads_in, read_unit, split_currency, split_unit
from verl_maxpo.rewards.verifiers.expressions import NotEvaluated, check, evaluate, plain_signs
from verl_maxpo.rewards.verifiers.extraction import words_as_text

MAX_LENGTH = 2000
_NAME = re.compile(
    rf"(?P<variable>{VARIABLE})|{VARIABLE}\s*(?:\^\{{-1\}}|')?\s*\([^()=]{{1,40}}\)|\|?\s*[A-Z]{{2,4}}\s*\|?"
    r"|\(\s*[a-z](?:\s*,\s*[a-z])+\s*\)|m?\s*\\angle\s*\{?\s*[A-Z]{1,3}\s*\}?|\[\s*[A-Z]{3,6}\s*\]"
    r"|\|*\s*\\(?:overline|overrightarrow|vec|hat)\s*\{\s*[A-Za-z]{1,2}\s*\}\s*\|*|\\(?:max|min)\s*[A-Za-z]?"
    r"|[A-Za-z]_\{?(?:\\triangle\s*[A-Z]{3}|\\(?:max|min)|\\text\{\w+\}|[A-Z]{3})\}?|\\frac\{d\s*[a-z]\}\{d\s*[a-z]\}|[a-z]'+"
    r"|(?:\\text\s*\{[^{}=]{1,60}\}|[A-Za-z][a-z]{2,}(?: [a-z]+){0,5})\s*(?:\([^()=]{1,40}\)|_\{?\w+\}?)?"
)
_EQUALS = re.compile(r"(?<![\\<>!:])=|\\in(?=\s*\\\{)")
_SUM_OF_NAMES = re.compile(rf"(?:[A-Z]{{2}}|{VARIABLE})(?:\s*\+\s*(?:[A-Z]{{2}}|{VARIABLE}))+")
_PHRASE = (
    r"\s*(?:(?:so|thus|hence|therefore|and|the|our|my|final|correct|required|exact)\b,?\s*)*"
    r"\b(?:answers?|result|solutions?|value|option|choice)\b\s*(?:(?:is|are|equals)\b\s*:?|[:=])\s*"
)
_LEAD_IN = re.compile(rf"\\text\s*\{{{_PHRASE}\}}\s*|{_PHRASE}", re.IGNORECASE)
# Words before a value. They may be dropped if they end in "is" or a colon, or if a plain value follows.
_LEAD = re.compile(r"(?:\\text\s*\{((?=[^{}]*[^\W\d_]{2})[^{}0-9]*)\}\s*:?\s*)+(?![=_^/*+])(?=\S)")
_CONNECTS = r"(?:so|thus|hence|therefore|then|and|now|finally|here|it|we|conclude|follows|that|also|the|answer)"
_SAYS = re.compile(
    rf".*(?:\b(?:is|are|was|equals?|equal to|gives?|get|obtain|have|has)\s*:?|:)\s*|(?:{_CONNECTS}\b,?\s*)+",
    re.IGNORECASE,
)
_LETTER = r"\(\s*([A-J])\s*\)"
_OPTION = re.compile(
    rf"(?:\\text\s*\{{\s*(?:{_LETTER}|([A-J]))\s*[.:)]?\s*\}}|{_LETTER}|([A-J])\s*[.:)](?=\s))\s*(.*)", re.DOTALL
)
_ABOUT = r"(?:about|approximately|approx\.?|roughly|around|nearly|almost)"
_APPROXIMATE = re.compile(rf"\s*(?:\\approx(?![A-Za-z])|\\text\s*\{{\s*{_ABOUT}\s*\}}|\b{_ABOUT}\b)\s*", re.IGNORECASE)
_PERCENT_WORD = r"(?:percent|per cent|percentage|pct)"
_PERCENT = re.compile(
    rf"\s*(?:\\?%|\\text\s*\{{\s*(?:{_PERCENT_WORD}|\\?%)\.?\s*\}}|(?<![A-Za-z\\]){_PERCENT_WORD})\.?\s*$"
)
_DEGREES = re.compile(r"\s*(?:\^\{\\circ\}|\\text\s*\{\s*deg(?:ree)?s?\s*\}|(?<![A-Za-z\\])deg(?:ree)?s?)\s*$")
_OPERATOR = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc|int|iint|oint|sum|prod|lim)(?![A-Za-z])|(?<![A-Za-z\\])(?:sin|cos|tan)(?![a-z])"
)
_WHOLE_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}|\{([^{}]*)\}|\(([-+0-9./ ]+)\)")
_TELLING_TEXT = re.compile(r"\\text\s*\{((?=[^{}]*(?:(?<!\^)[0-9]|\b(?:or|and)\b))[^{}]*)\}")


def read(text: str) -> Answer:
    """Read an answer; every text gives one."""
    latex = clean(text)
    if number := read_number(latex):
        return Answer(Kind.NUMBER, number, latex, latex)
    return formula(latex) if len(latex) > MAX_LENGTH else _read(latex)


def _read(latex: str) -> Answer:
    whole = latex
    latex = open_up(_TELLING_TEXT.sub(lambda text: f" {words_as_text(text[1])} ", latex).strip())
    if lead_in := _LEAD_IN.match(latex):
        latex = latex[lead_in.end() :]
    if answer := literals.read_date(latex) or _led_in(latex):
        return replace(answer, latex=whole)
    latex, letter = _option(strip_punctuation(latex))
    approximate = _APPROXIMATE.match(latex)
    latex = open_up(latex[approximate.end() :] if approximate else latex)
    answer = (
        literals.read_time(latex)
        or _measured(latex)
        or intervals.read_ranges(latex, read)
        or lists.read_list(latex, _read)
        or _named(latex)
    )
    return replace(answer, latex=whole, letter=letter, approximate=approximate is not None or answer.approximate)


def _led_in(latex: str) -> Answer | None:
    r"""Read what words such as ``\text{There are }`` lead in to."""
    match = _LEAD.match(latex)
    if not match or not leads_in(match[0].replace(r"\text", "")):
        return None
    answer = _read(latex[match.end() :])
    number = answer.kind is Kind.NUMBER and latex[match.end()] not in "-("
    plain = answer.name is None and (number or answer.kind in (Kind.ITEMS, Kind.RANGES))
    return answer if plain or _SAYS.fullmatch(match[1]) else None


def open_up(latex: str) -> str:
    r"""Remove braces, parentheses and ``\text`` around a whole answer."""
    while match := _WHOLE_TEXT.fullmatch(latex):
        latex = strip_punctuation(match[1] or match[2] or match[3] or "")
    return latex


def _option(latex: str) -> tuple[str, str | None]:
    r"""Split the letter of an option off: ``\textbf{(A)}\ 12``; a letter alone stays as it is."""
    match = _OPTION.fullmatch(latex)
    if not match:
        return latex, None
    letter = match[1] or match[2] or match[3] or match[4]
    return match[5] or letter, letter


def _measured(latex: str) -> Answer | None:
    """Read a number with a currency, a unit, a scale word, or a percent or degree sign."""
    for body, marks in [(latex, {}), *_around(latex)]:
        if number := read_number(open_up(body)):
            if "scale" in marks:
                number = replace(number, value=number.value * marks.pop("scale"), decimal=False)
            return Answer(Kind.NUMBER, number, latex, body, **marks)
    return None


def _around(latex: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield an answer without its sign of percent or degrees, or without currency, scale word and unit."""
    if match := _PERCENT.search(latex):
        yield latex[: match.start()], {"percent": True}
    elif match := _DEGREES.search(latex):
        yield latex[: match.start()], {"degrees": True}
    body, currency = split_currency(latex)
    body, words = split_unit(body)
    marks: dict[str, Any] = {"unit": currency} if currency else {}
    if words and words[0].lower() in SCALES:
        marks["scale"] = SCALES[words.pop(0).lower()]
    unit = read_unit([word for word in words if word != "of"])
    if words and unit and not currency:
        marks["unit"] = unit
    if marks and (unit or not words):
        yield body, marks


def _named(latex: str) -> Answer:
    """Read ``x = 5``, ``5 = x``, ``f(3) = 5`` and chains of these, or an answer without a name."""
    parts = [part.strip() for part in _EQUALS.split(latex)]
    if len(parts) == 1 or not all(parts):
        return _unnamed(latex)
    if not _NAME.fullmatch(parts[0]) and IS_VARIABLE.fullmatch(parts[-1]):
        parts.reverse()
    match = _NAME.fullmatch(parts[0])
    rest = chain(parts)
    answer = _measured(rest[-1])
    if len(rest) > 1 and not (answer and all(arithmetic(part) == answer.value.value for part in rest[:-1])):
        return formula(latex)
    answer = answer or _unnamed(rest[-1])
    return replace(answer, latex=latex, name=(match and match["variable"]) or "")


def chain(parts: list[str]) -> list[str]:
    """Return the working and the value of ``name = working = value``; a sum of names has to have working."""
    named = next((i for i, part in enumerate(parts) if not _NAME.fullmatch(part)), len(parts))
    if not named and len(parts) > 2 and _SUM_OF_NAMES.fullmatch(parts[0]):
        named = 1
    return parts[min(named, len(parts) - 1) :]


def arithmetic(latex: str) -> Fraction | None:
    """Return the value of arithmetic with small integers, or None."""
    if number := read_number(latex):
        return number.value
    latex = re.sub(r"\\frac\{([0-9]+)\}\{([0-9]+)\}|(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", _quotient, latex)
    try:
        return evaluate(check(plain_signs(latex)))
    except NotEvaluated:
        return None


def _quotient(fraction: re.Match[str]) -> str:
    return f"({fraction[1]}/{fraction[2]})" if fraction[1] else ""


def _unnamed(latex: str) -> Answer:
    for reader in _READERS:
        if answer := reader(latex):
            names_set = answer.kind is Kind.WORDS and answer.value.startswith("\\")  # "no solution"
            return replace(_unnamed(answer.value), latex=answer.latex) if names_set else answer
    if not _OPERATOR.search(latex):
        for body, marks in _around(latex):
            known = "unit" not in marks or marks["unit"].dimension is not None or r"\text" in latex
            if body and known and "scale" not in marks:
                return replace(_unnamed(open_up(body)), latex=latex, **marks)
    return formula(latex)


_READERS: tuple[Callable[[str], Answer | None], ...] = (
    lambda latex: Answer(Kind.ITEMS, (), latex, latex, brackets="{}") if latex.strip() == r"\emptyset" else None,
    literals.read_time,
    literals.read_ratio,
    literals.read_based,
    lambda latex: intervals.read_ranges(latex, read),
    lambda latex: lists.read_matrix(latex, _read),
    lambda latex: lists.read_unit_vectors(latex, _read),
    lambda latex: lists.read_brackets(latex, _read),
    lambda latex: lists.read_either_sign(latex, _read),
    literals.read_words,
)
