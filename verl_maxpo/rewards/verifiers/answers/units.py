"""Units, currencies and counted things: what may follow a number and may be left out.

A unit of the table has a dimension and a factor, so that 4 m is 400 cm and not 400 s. Other words are things counted
("apples") and do not matter, unless they change what the number says ("5 or more", "5 million").
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

_TABLE: dict[str, dict[str, str]] = {
    "metre": {
        "1": "m meter metre", "1/100": "cm centimeter centimetre", "1/1000": "mm millimeter millimetre",
        "1/10": "dm", "1000": "km kilometer kilometre", "0.0254": "in inch inches", "0.3048": "ft foot feet",
        "0.9144": "yd yard", "1609.344": "mi mile",
    },
    "second": {
        "1": "s sec second", "60": "min minute", "3600": "h hr hour", "86400": "day", "604800": "week",
    },
    "month": {"1": "month", "12": "yr year"},
    "gram": {"1": "g gram", "1000": "kg kilogram", "1/1000": "mg milligram"},
    "pound": {"1": "lb lbs pound £", "1/16": "oz ounce"},
    "litre": {"1": "l liter litre", "1/1000": "ml milliliter millilitre"},
    "dollar": {"1": "$ dollar usd buck", "1/100": "cent ¢"},
    "euro": {"1": "€ euro eur"},
    "yen": {"1": "¥ yen"},
    "rupee": {"1": "₹ rs rupee"},
    **{scale: {"1": scale} for scale in ("kelvin", "celsius", "fahrenheit")},
}  # fmt: skip
_UNITS = {
    alias: (dimension, Fraction(factor))
    for dimension, factors in _TABLE.items()
    for factor, aliases in factors.items()
    for alias in aliases.split()
}
_QUOTIENTS = {"mph": ("mi", "h"), "kmh": ("km", "h"), "kph": ("km", "h")}
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_HEDGES = """
about above absolute almost approx approximately around below between but cannot doubt dt dx dy double doubled
either except exceed exceeds factorial false fewer greater half halved hardly higher if impossible incorrect
infinitely inverse ish likely larger least less lower maybe minus mod modulo more most multiplied nearly negative
neither never no none nor not only opposite or otherwise over perhaps plus possibly presumably probably reciprocal
remainder roughly smaller than then thrice times triple tripled twice under unless up versus vs within without
wrong
"""
_AFTER = """
a after all and any at base before equals for from halves is it off on root to true when where with
third quarter fourth fifth sixth seventh eighth ninth tenth eleventh twelfth twentieth hundredth thousandth millionth
billionth hundred thousand million billion trillion dozen score lakh crore grand bn mn percent percentage pct choose
"""
_BEFORE = """
and base by case chapter cube cubed each equation example figure from lemma log of page part per power problem question
root square squared step theorem to with
"""
#: Words that change the meaning of the number before them. Words with one of these are not a unit.
_TELLING = frozenset((_HEDGES + _AFTER).split())
#: Words that change the meaning of what follows, or that end a name such as "step 3".
_LEADING = frozenset((_HEDGES + _BEFORE).split())
_CJK = re.compile("[万亿千百十半倍成负不或和以约多余]")
_NO_UNIT = re.compile(rf"{_CJK.pattern}|^[A-Za-z]$(?<![msghlL])")
_TOKEN = re.compile(
    r"\\text\s*\{(?P<text>(?:[^{}0-9^]|\^(?:-?[1-4]|\{-?[1-4]\}))*)\}|(?P<slash>/)"
    r"|(?<![\\A-Za-z])(?P<word>[A-Za-z]{2,}\.?|[^\W\d_A-Za-z]+|(?<=/)[smhgl](?![A-Za-z])|(?<=[0-9] )m(?=\s?[\^/]))"
    r"|\^\s*\{?\s*(?P<power>-?[1-4])\s*\}?"
    r"|(?P<space>\s+)|\\cdot(?![A-Za-z])|\\[A-Za-z]+|."
)
_PART = re.compile(r"[^\W\d_]+\.?|[£€¥₹$¢/]|\^\{?-?[1-4]\}?")
_CURRENCY = re.compile(r"\s*([-+]?)\s*(?:\\(\$)|([£€¥₹$]))\s*")
_CURRENCY_AFTER = re.compile(r"\s*(?:\\(\$)|([£€¥₹$¢]))\s*$")


@dataclass(frozen=True)
class Unit:
    """A unit: the powers of its dimensions (none if it is not in the table), and its size in them."""

    dimension: frozenset[tuple[str, int]] | None = None
    factor: Fraction = Fraction(1)


def split_currency(latex: str) -> tuple[str, Unit | None]:
    """Return an answer without the sign of a currency before or after it, and the currency."""
    if match := _CURRENCY.match(latex):
        return match[1] + latex[match.end() :], _product([match[2] or match[3]])
    if match := _CURRENCY_AFTER.search(latex):
        return latex[: match.start()], _product([match[1] or match[2]])
    return latex, None


def split_unit(latex: str) -> tuple[str, list[str]]:
    r"""Split the words that end an answer from it, unless they are the whole answer."""
    tokens = list(_TOKEN.finditer(latex))
    start = len(tokens)
    while start and (tokens[start - 1].lastgroup is not None):
        start -= 1
    unit = tokens[start:]
    while unit and unit[0].lastgroup in ("slash", "power", "space"):
        unit = unit[1:]
    if not unit or unit[0].start() == 0:
        return latex, []
    words = _PART.findall(" ".join(token["text"] if token["text"] is not None else token[0] for token in unit))
    return (latex[: unit[0].start()].rstrip(), [word.rstrip(".") for word in words]) if words else (latex, [])


def read_unit(words: list[str]) -> Unit | None:
    """Read a unit, or things counted; None if the words say more than that."""
    said = {word.lower() for word in words}
    telling = _TELLING & (said | {word.removesuffix("s") for word in said})
    return None if telling or any(map(_NO_UNIT.search, words)) else _product(words)


def leads_in(words: str) -> bool:
    """Return whether words only lead in to the value after them: "There are", "Total:"."""
    said = re.findall(r"[^\W\d_]+", words.lower().replace("n't", " not").replace("n’t", " not"))
    return bool(said) and not _LEADING.intersection(said) and not _CJK.search(words)


def _product(words: list[str]) -> Unit | None:
    """Multiply the units of ``square miles per hour``, ``cm ^2``, ``m / s``; a power without a unit is not one."""
    dimensions: Counter[str] = Counter()
    factor, sign, power, last = Fraction(1), 1, 1, ("", Fraction(1))
    for word in words:
        name = word.lower()
        if name in ("per", "/"):
            sign = -1
        elif name in _POWERS and not name.endswith("ed"):
            power = _POWERS[name]
        elif name[0] == "^" or name in _POWERS:
            if not last[0]:
                return None if name in _POWERS else Unit()
            extra = sign * ((_POWERS.get(name) or int(name.strip("^{}"))) - 1)
            dimensions[last[0]] += extra
            factor *= last[1] ** extra
        elif name in _QUOTIENTS:
            return _product([_QUOTIENTS[name][0], "/", _QUOTIENTS[name][1]])
        else:
            last = _UNITS.get(name) or _UNITS.get(name.removesuffix("s")) or ("", Fraction(1))
            if not last[0]:
                return Unit()
            dimensions[last[0]] += sign * power
            factor *= last[1] ** (sign * power)
            power = 1
    return Unit(frozenset(dimensions.items()), factor) if dimensions else Unit()
