"""Answers that are not formulas: words, times, dates, ratios, numbers in a base."""

from __future__ import annotations

import re

from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind
from verl_maxpo.rewards.verifiers.answers.numerals import read_number

TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")

#: Words that name a set, with its LaTeX, and abbreviations.
_SYNONYMS = {
    **dict.fromkeys(("no solution", "no solutions", "no real solution", "no real solutions"), r"\emptyset"),
    **dict.fromkeys(("empty set", "null set"), r"\emptyset"),
    **dict.fromkeys(("all real numbers", "all reals", "real numbers", "reals", "any real number"), r"\mathbb{R}"),
    **{"dne": "does not exist", "t": "true", "f": "false"},
}
_ARTICLES = re.compile(r"\b(?:an?|the|there (?:is|are))\s+(?=[a-z])")
_WORDY = re.compile(r"[A-Za-z][A-Za-z .,'\"!?-]*")
_A_WORD = re.compile(r"[A-Za-z]{3}|[A-Z]{2}|(?i:\bno\b)")
_A_VARIABLE = re.compile(r"\b[b-zB-HJ-Z]\b")
_FUNCTION = re.compile(
    r"(?<![A-Za-z])(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|det|max|min|gcd|lcm)(?![a-z])"
)

_TIME = re.compile(
    r"([0-9]{1,2})(?::([0-5][0-9])(?::([0-5][0-9]))?)?\s*(?:\\text\s*\{)?\s*(?:([ap])\.?\s*m\.?|)\s*\}?", re.IGNORECASE
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:\s*,?\s*(?P<year>[0-9]{4}))?"
_DATES = (
    re.compile(rf"{_MONTH}\s+{_DAY}{_YEAR}", re.IGNORECASE),
    re.compile(rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}{_YEAR}", re.IGNORECASE),
    re.compile(r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"),
)
_RATIO_SIGN = re.compile(r"\s*:\s*|\s*\\text\s*\{\s*to\s*\}\s*|\s+to\s+")
_BASED = re.compile(
    r"\(?\s*(?P<digits>[0-9][0-9A-Za-z]{0,60})\s*\)?\s*"
    r"(?:_\s*(?:\{\s*(?:base)?\s*(?P<braced>[0-9]{1,2}|[a-z]+)\s*\}|(?P<bare>[0-9]))"
    r"|(?:in\s+)?base\s*(?P<said>[0-9]{1,2}|[a-z]+))",
    re.IGNORECASE,
)


def flat(latex: str) -> str:
    r"""Return a text without ``\text{...}`` around its words."""
    return " ".join(TEXT.sub(r" \1 ", latex).split())


def read_words(latex: str) -> Answer | None:
    r"""Read words, in ``\text`` or bare. A run of letters is a word if it has three letters or two capitals."""
    text = flat(latex)
    if not _WORDY.fullmatch(text):
        return None
    if "\\" not in latex and (_FUNCTION.search(text) or _A_VARIABLE.search(text) or not _A_WORD.search(text)):
        return None
    words = _ARTICLES.sub("", re.sub(r"[^a-z' -]", "", text.lower())).strip()
    return Answer(Kind.WORDS, _SYNONYMS.get(words, words), latex, latex)


def read_time(latex: str) -> Answer | None:
    """Read ``10:30``, ``10:30 p.m.``, ``3 pm``; minutes have two digits, unlike most ratios."""
    match = _TIME.fullmatch(latex)
    if not match or not (match[2] or match[4]) or int(match[1]) > (12 if match[4] else 24):
        return None
    value = (int(match[1]), int(match[2] or 0), int(match[3] or 0), f"{match[4].lower()}m" if match[4] else "")
    return Answer(Kind.TIME, value, latex, latex)


def read_date(latex: str) -> Answer | None:
    """Read ``July 4, 2020``, ``4th of July`` and ``2020-07-04``."""
    text = flat(latex)
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            name = match["month"].lower()[:3]
            month = int(name) if name.isdigit() else _MONTHS.index(name) + 1
            return Answer(Kind.DATE, (int(match["year"] or 0), month, int(match["day"])), latex, latex)
    return None


def read_ratio(latex: str) -> Answer | None:
    r"""Read ``2:3``, ``1 : 2 : 3`` and ``2 \text{ to } 3``."""
    parts = _RATIO_SIGN.split(latex)
    numbers = tuple(read_number(part) for part in parts) if 2 <= len(parts) <= 6 else ()
    return Answer(Kind.RATIO, numbers, latex, latex) if numbers and None not in numbers else None


def read_based(latex: str) -> Answer | None:
    r"""Read ``413_5``, ``413_{\text{five}}``, ``101 \text{ base } 2``."""
    match = _BASED.fullmatch(TEXT.sub(r"\1", latex))
    if not match:
        return None
    number = read_number((match["braced"] or match["bare"] or match["said"]).lower())
    base = int(number.value) if number and number.value.denominator == 1 else 0
    digits = match["digits"].upper()
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return Answer(Kind.BASED, (digits.lstrip("0") or "0", base), latex, latex)
