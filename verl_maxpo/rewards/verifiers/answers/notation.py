r"""One notation for answers: LaTeX for Unicode signs, one way to write spaces, fractions, fonts and functions.

:func:`clean` changes how an answer is written, never what it says, in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

_Write: TypeAlias = Callable[[re.Match[str]], str]
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ"
_SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
_DIGITS = str.maketrans(_SUPERSCRIPTS + _SUBSCRIPTS, "0123456789+-n0123456789")
_FRACTIONS = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅛": (1, 8), "⅜": (3, 8)}
_SIGNS = str.maketrans(
    {
        **{sign: rf"\frac{{{a}}}{{{b}}}" for sign, (a, b) in _FRACTIONS.items()},
        **dict.fromkeys("−–—﹣－", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff✓✔✅", ""),
        **dict.fromkeys("’′", "'"),
        **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "±": r"\pm ", "∞": r"\infty ", "π": r"\pi "},
        **{"θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "φ": r"\phi ", "∠": r"\angle "},
        **{"≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\neq ", "≈": r"\approx ", "∈": r"\in "},
        **{"∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "…": r"\ldots ", "°": r"^{\circ}"},
        **{"〈": r"\langle ", "〉": r"\rangle ", "⟨": r"\langle ", "⟩": r"\rangle ", "∖": r"\setminus ", "∣": r"\mid "},
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        **{"％": "%", "＝": "=", "：": ":", "，": ",", "（": "(", "）": ")"},
    }
)
_RADICAL = re.compile(r"([√∛∜])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9.]+|\\?[A-Za-z]+)|)")
_RADICALS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_EQUATION = re.compile(r"\s*\\?[A-Za-z]+(?:_\w|_\{\w+\})?[&\s]*=[^=&]*")
_COMMANDS = {
    **dict.fromkeys(("leq", "leqslant", "leqq"), r"\le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), r"\ge"),
    **dict.fromkeys(("ne", "not="), r"\neq"),
    **{"lt": "<", "gt": ">", "lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "colon": ":"},
    **dict.fromkeys(("varnothing", "O"), r"\emptyset"),
    **dict.fromkeys(("dots", "cdots", "dotsc", "dotsb"), r"\ldots"),
    **dict.fromkeys(("R", "Reals", "reals"), r"\mathbb{R}"),
    **{"degree": r"^{\circ}", "textdegree": r"^{\circ}", "backslash": r"\setminus", "pounds": "£", "euro": "€"},
    **{"smallsetminus": r"\setminus", "simeq": r"\approx", "sim": r"\approx", "lvert": "|", "rvert": "|", "vert": "|"},
}
_NAMES = "|".join(sorted(_COMMANDS, key=len, reverse=True))
_UNIT = r"\s*\\text\s*\{([^{}]*)\}\s*"
_FUNCTIONS = r"((?:arc)?(?:sin|cos|tan)|ln|log|lg|exp)"
_PLAIN = re.compile(r"-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")


def clean(text: str) -> str:
    """Return an answer in one notation, without the delimiters of formulas, sizes, fonts and superfluous spaces."""
    if _PLAIN.fullmatch(text):
        return text
    if not text.isascii():
        text = _ascii(text)
    for needed, pattern, replacement in _STEPS:
        if needed in text:
            text = pattern.sub(replacement, text)
    return strip_punctuation(text)


def _ascii(text: str) -> str:
    """Write signs beyond ASCII as LaTeX does."""
    scripts = rf"(?P<up>[{_SUPERSCRIPTS}]+)|[{_SUBSCRIPTS}]+"
    text = re.sub(scripts, lambda m: f"{'^' if m['up'] else '_'}{{{m[0].translate(_DIGITS)}}}", text)
    return _RADICAL.sub(lambda m: f"{_RADICALS[m[1]]}{{{m[2] or m[3] or m[4] or ''}}}", text.translate(_SIGNS))


def _listed(system: re.Match[str]) -> str:
    """Write a system of equations as a list."""
    rows = [row.rstrip(" ,.;") for row in system[2].split(r"\\") if row.strip()]
    return ", ".join(row.replace("&", "") for row in rows) if all(map(_EQUATION.fullmatch, rows)) else system[0]


def _step(needed: str, pattern: str, replacement: str | _Write) -> tuple[str, re.Pattern[str], _Write]:
    """Return a substitution for texts that contain ``needed``: few answers need many."""
    return needed, re.compile(pattern), (lambda _: replacement) if isinstance(replacement, str) else replacement


_STEPS = [
    # delimiters, sizes, spaces
    _step("~", r"^\s*~(?=\s*[-$\\0-9])", r"\approx "),
    _step("$", r"(?<!\\)\$", " "),
    _step("\\", r"(?<!\\)\\[()\[\]]", " "),
    _step(
        "\\",
        r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?|\\(?:display|text|script)style\b|\\(?:no)?limits\b"
        r"|\\(?:tiny|small|large|Large|LARGE|huge|Huge|bf|it|sf|checkmark)(?![A-Za-z])|\\(?:text)?color\s*\{[^{}]*\}",
        "",
    ),
    _step("\\!", r"(?<!\\)\\!\s*", ""),
    _step("", r"(?<!\\)\\[,;:>\s]|\\q?quad\b|\\[hv]space\s*\{[^{}]*\}|\\(?:thin|med|thick)space\b|[\s~]+", " "),
    # one kind of text, no bold or italics, the constants i and e, one name for each command
    _step("{", r"\\(?:math(?:bf|it|sf|normal)|boldsymbol|bm|underline)\s*(?=\{)", ""),
    _step("{", r"\\(?:emph|text(?:bf|it|sf|tt|rm|up|normal)|math(?:rm|tt)|[mh]box|rm)\s*(?=\{)", r"\text"),
    _step("{", r"\\(?:text|operatorname)\s*\{\s*([ie])\s*\}|\{\\rm\s*([ie])\}", lambda m: m[1] or m[2]),
    _step("math", r"\\[ij]math\b", "i"),
    _step("\\", rf"\\({_NAMES})(?![A-Za-z])", lambda m: _COMMANDS[m[1]] + " "),
    _step(r"\mathbb", r"\\mathbb\s*([CNQRZ])\b", lambda m: rf"\mathbb{{{m[1]}}}"),
    _step(r"\circ", r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ\b)", r"^{\circ}"),
    _step(  # a system of equations, as which an array of one column counts: its rows say what its variables are
        r"\begin",
        r"(?s)(?:\\\{\s*)?\\begin\s*\{(cases|aligned|align\*?|gathered|split|array)\}(?:\s*\{[lcr| ]*\})?"
        r"((?:(?!\\begin|\\end).)*)\\end\s*\{\1\}",
        _listed,
    ),
    _step(r"\text", rf"\\frac\s*\{{{_UNIT}\}}\s*\{{{_UNIT}\}}", lambda m: rf"\text{{{m[1]}/{m[2]}}}"),
    _step(r"\circ}", r"\^\{\\circ\}\s*(?:\\text\s*\{\s*C\s*\}|C(?![A-Za-z]))", r"\text{ celsius}"),
    _step(r"\circ}", r"\^\{\\circ\}\s*(?:\\text\s*\{\s*F\s*\}|F(?![A-Za-z]))", r"\text{ fahrenheit}"),
    _step("{", r"\{\s*([-+=:])\s*\}", lambda m: m[1]),
    # braces for the arguments of \frac12 and \sqrt2; 1{,}234 has a separator, 3{,}5 a decimal comma
    _step(",", r"(?<=[0-9])\{\s*,\s*\}(?=[0-9]{3}(?![0-9]))", ""),
    _step(",", r"(?<=[0-9])\{\s*,\s*\}(?=[0-9])", "."),
    _step("frac", r"\\[dtc]frac\s*(?=\{)|\\frac\s+(?=\{)", r"\frac"),
    _step("frac", r"\\[dtc]?frac\s*([0-9])\s*([0-9]|(?=\{))", lambda m: rf"\frac{{{m[1]}}}" + (m[2] and f"{{{m[2]}}}")),
    _step(r"\sqrt", r"\\sqrt\s*([0-9A-Za-z])(?![A-Za-z])", lambda m: rf"\sqrt{{{m[1]}}}"),
    # operators, functions and infinity of program text
    _step("<=", "<=", r"\le "),
    _step(">=", ">=", r"\ge "),
    _step("!=", "!=", r"\neq "),
    _step("*", r"\*\*", "^"),
    _step("*", r"(?<![\\^_])\*", r" \cdot "),
    _step("sqrt", r"(?<![\\A-Za-z])sqrt\s*(?:\(([^()]*)\)|([0-9]+))", lambda m: rf"\sqrt{{{m[1] or m[2] or ''}}}"),
    _step("", rf"(?<![\\A-Za-z]){_FUNCTIONS}(?=\s*[(\\^_0-9]|\s+[a-z](?![A-Za-z]))", lambda m: rf"\{m[1]} "),
    _step("{", rf"\\(?:text|operatorname)\s*\{{\s*{_FUNCTIONS}\s*\}}", lambda m: rf"\{m[1]} "),
    _step("pi", r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\pi "),
    _step(r"\lg", r"\\lg(?![A-Za-z])", r"\log_{10}"),
    _step(r"\log", r"\\log\s*_\s*(?:e|\{\s*e\s*\})(?![A-Za-z])", r"\ln "),
    _step(r"\exp", r"\\exp\s*(?:\(([^()]*)\)|\{([^{}]*)\})", lambda m: f"e^{{{m[1] or m[2] or ''}}}"),
    _step("", r"(?i)(?<![\\A-Za-z])(?:inf|infty|infinity|oo)(?![A-Za-z])", r"\infty"),
]


def strip_punctuation(text: str) -> str:
    """Return a text without spaces around it and without the punctuation that ends it."""
    text = text.strip()
    while text.endswith((".", ",", ";", ":")) and not text.endswith((r"\,", r"\;", r"\:", "..")):
        text = text[:-1].rstrip()
    return text
