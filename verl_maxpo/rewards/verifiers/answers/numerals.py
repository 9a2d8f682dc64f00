"""Numbers as people write them, read exactly: with separators, scientific, mixed, recurring and in English words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 300
MAX_EXPONENT = 300

_INTEGER = r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:[ '][0-9]{3})+|[0-9]+"
_DECIMAL = rf"(?:(?:{_INTEGER})(?:\.[0-9]*)?|\.[0-9]+)"
_NUMERAL = re.compile(
    rf"""(?P<sign>[-+]?)\s*(?:
      (?:(?P<whole>{_INTEGER})\s*(?=\\frac))?\\frac\s*\{{\s*(?P<top>[-+]?\s*{_DECIMAL})\s*\}}\s*
        \{{\s*(?P<bottom>[-+]?\s*{_DECIMAL})\s*\}}
    | (?:(?P<mixed>[0-9]+)\s+)?(?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})
    | (?P<mantissa>{_DECIMAL})(?:[eE](?P<e>[-+]?[0-9]{{1,4}}))?
    | (?:(?P<factor>{_DECIMAL})\s*(?:\\times|\\cdot|x)\s*)?10\s*\^\s*
        (?:\{{\s*(?P<braced>[-+]?[0-9]{{1,4}})\s*\}}|(?P<bare>[-+]?[0-9]{{1,4}}))
    )""",
    re.VERBOSE,
)
_RECURRING = re.compile(
    r"""(?P<sign>[-+]?)\s*(?P<whole>[0-9]{0,15})\.(?P<fixed>[0-9]{0,15}?)(?:
      (?:\\(?:overline|bar|overbar)\s*\{\s*(?P<over>[0-9]{1,15})\s*\}|\((?P<parenthesised>[0-9]{1,15})\))(?:\s*(?:\\ldots|\.\.\.))?
    | \\dot\s*\{?\s*(?P<first>[0-9])\s*\}?(?:(?P<middle>[0-9]{0,13})\\dot\s*\{?\s*(?P<last>[0-9])\s*\}?)?
    )""",
    re.VERBOSE,
)
_ELLIPSIS = re.compile(r"(?P<sign>[-+]?)\s*(?P<whole>[0-9]{0,15})\.(?P<digits>[0-9]{3,30})\s*(?:\\ldots|\.\.\.+)")
_PERIOD = re.compile(r"(?P<fixed>[0-9]*?)(?P<period>[0-9]+?)(?P=period)+")

_SEPARATORS = str.maketrans("", "", ", '")
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: value for value, word in enumerate(_ONES.split())}
_WORDS |= {word: 10 * tens for tens, word in enumerate(_TENS.split(), 2)}
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8}
_PARTS |= {f"{word}s": value for word, value in _PARTS.items() if not word.startswith("hal")}
#: Words that multiply the number before them.
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


@dataclass(frozen=True)
class Number:
    """A number, and whether it is written as a decimal, which may be rounded."""

    value: Fraction
    decimal: bool = False


def read_number(text: str) -> Number | None:
    """Read one numeral, in the notation of :func:`.notation.clean`, or return None."""
    if len(text) > MAX_DIGITS or not text:
        return None
    if match := _NUMERAL.fullmatch(text):
        return _numeral(match)
    return _recurring(text) or _in_words(text)


def _numeral(match: re.Match[str]) -> Number | None:
    if match["top"] or match["over"]:
        return _fraction(match)
    text = match["mantissa"] or match["factor"] or "1"
    value, exponent = _decimal(text), int(match["e"] or match["braced"] or match["bare"] or 0)
    if abs(exponent) > MAX_EXPONENT:
        return None
    return Number(_signed(match, value * Fraction(10) ** exponent if exponent else value), "." in text)


def _fraction(match: re.Match[str]) -> Number | None:
    names = ("whole", "top", "bottom") if match["top"] else ("mixed", "over", "under")
    whole, numerator, denominator = (_decimal(match[name] or "0") for name in names)
    if not denominator:
        return None
    value = numerator / denominator
    if whole and value <= 0:
        return None
    return Number(_signed(match, whole + value if whole else value))


def _signed(match: re.Match[str], value: Fraction) -> Fraction:
    return -value if match["sign"] == "-" else value


def _decimal(text: str) -> Fraction:
    whole, _, places = text.translate(_SEPARATORS).partition(".")
    value = Fraction(int(whole + places or "0"))
    return value / 10 ** len(places) if places else value


def _recurring(text: str) -> Number | None:
    r"""Read ``0.1\overline{6}``, ``0.1\dot{6}``, ``0.1(6)`` and ``0.1666...`` (the shortest period)."""
    if match := _RECURRING.fullmatch(text):
        dotted = f"{match['first']}{match['middle'] or ''}{match['last'] or ''}"
        period = match["over"] or match["parenthesised"] or dotted
        return Number(_signed(match, _with_period(match["whole"], match["fixed"], period)))
    if (match := _ELLIPSIS.fullmatch(text)) and (found := _PERIOD.fullmatch(match["digits"])):
        return Number(_signed(match, _with_period(match["whole"], found["fixed"], found["period"])))
    return None


def _with_period(whole: str, fixed: str, period: str) -> Fraction:
    start = int((whole + fixed) or "0")
    return Fraction(int(whole + fixed + period) - start, (10 ** len(period) - 1) * 10 ** len(fixed))


def _in_words(text: str) -> Number | None:
    """Read ``forty-two``, ``one hundred and five``, ``two thirds``."""
    words = re.findall("[a-z]+", text.lower())
    if not words or len(words) > 12 or not re.fullmatch(r"[A-Za-z]+(?:[ -]+[A-Za-z]+)*", text):
        return None
    if len(words) == 2 and words[1] in _PARTS and words[0] in ("a", *_WORDS):
        return Number(Fraction(_WORDS.get(words[0], 1), _PARTS[words[1]]))
    total = group = 0
    for word in [word for word in words if word != "and"]:
        if word in _WORDS and not group % (100 if _WORDS[word] >= 10 else 10):
            group += _WORDS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word in SCALES and word != "dozen":
            total, group = total + max(group, 1) * SCALES[word], 0
        else:
            return None
    return Number(Fraction(total + group)) if words[0] in _WORDS else None
