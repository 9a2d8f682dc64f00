r"""One notation for answers: LaTeX for Unicode signs, one way to write spaces, fractions, fonts and functions.

:func:`clean` changes how an answer is written, never what it says, in time linear in the text.
"""

from __future__ import annotations

import re

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FRACTIONS = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅛": (1, 8), "⅜": (3, 8)}
_SIGNS = {
    **{sign: rf"\frac{{{a}}}{{{b}}}" for sign, (a, b) in _FRACTIONS.items()},
    **dict.fromkeys("−–—﹣－", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\n\r\t", " "),
    **dict.fromkeys("\u200b\u200c\u200d\ufeff", ""),
    **dict.fromkeys("’′", "'"),
    **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "±": r"\pm ", "∞": r"\infty ", "π": r"\pi "},
    **{"θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "φ": r"\phi ", "∠": r"\angle "},
    **{"≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\neq ", "≈": r"\approx ", "∈": r"\in "},
    **{"∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "…": r"\ldots ", "°": r"^{\circ}"},
    **{"〈": r"\langle ", "〉": r"\rangle ", "⟨": r"\langle ", "⟩": r"\rangle ", "∖": r"\setminus ", "∣": r"\mid "},
    **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
    **{"％": "%", "＝": "=", "：": ":", "，": ",", "（": "(", "）": ")"},
}
_SIGN = re.compile("[" + "".join(map(re.escape, _SIGNS)) + "]")
_RADICAL = re.compile(r"([√∛∜])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9.]+|\\?[A-Za-z]+)|)")
_RADICALS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_EXOTIC = re.compile(r"[^\x20-\x7e]")

_DELIMITER = re.compile(r"(?<!\\)\$|(?<!\\)\\[()\[\]]")
_ABOUT = re.compile(r"^\s*~(?=\s*[-$\\0-9])")
_NEGATIVE_SPACE = re.compile(r"(?<!\\)\\!\s*")
_SPACE = re.compile(r"(?<!\\)\\[,;:> ]|\\q?quad\b|\\[hv]space\s*\{[^{}]*\}|\\(?:thin|med|thick)space\b|[\s~]+")
_SIZE = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?|\\(?:display|text|script)style\b|\\(?:no)?limits\b"
    r"|\\(?:tiny|small|large|Large|LARGE|huge|Huge|bf|it|sf|checkmark)(?![A-Za-z])|\\(?:text)?color\s*\{[^{}]*\}|[✓✔✅]"
)
#: A system of equations, as which an array of one column counts: its rows say what its variables are.
_SYSTEM = re.compile(
    r"(?:\\\{\s*)?\\begin\s*\{(cases|aligned|align\*?|gathered|split|array)\}(?:\s*\{[lcr| ]*\})?"
    r"((?:(?!\\begin|\\end).)*)\\end\s*\{\1\}",
    re.DOTALL,
)
_EQUATION = re.compile(r"\s*\\?[A-Za-z]+(?:_\w|_\{\w+\})?[&\s]*=[^=&]*")
_FONT = re.compile(r"\\(?:mathbf|mathit|boldsymbol|bm|mathsf|mathnormal|emph|textbf|textit|textsf|underline)\s*(?=\{)")
_TEXT = re.compile(r"\\(?:textnormal|textrm|textup|texttt|mathrm|mathtt|mbox|hbox|rm)\s*(?=\{)")
_CONSTANT = re.compile(r"\\(?:text|operatorname)\s*\{\s*([ie])\s*\}|\\imath\b|\\jmath\b|\{\\rm\s*([ie])\}")
_BRACED_SIGN = re.compile(r"\{\s*([-+=:])\s*\}")
_BRACED_COMMA = re.compile(r"(?<=[0-9])\{\s*,\s*\}(?:(?=[0-9]{3}(?![0-9]))|(?=[0-9]))")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:(?=\{)|([0-9])\s*(?:([0-9])|(?=\{)))")
_ROOT = re.compile(r"\\sqrt\s*([0-9A-Za-z])(?![A-Za-z])")
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
_COMMAND = re.compile(r"\\(" + "|".join(sorted(map(re.escape, _COMMANDS), key=len, reverse=True)) + r")(?![A-Za-z])")
_ASCII = (("<=", r"\le "), (">=", r"\ge "), ("!=", r"\neq "), ("**", "^"))
_STAR = re.compile(r"(?<![\\^_])\*")
_PLAIN_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s*(?:\(([^()]*)\)|([0-9]+))")
_PLAIN_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:inf|infty|infinity|oo)(?![A-Za-z])", re.IGNORECASE)
_BLACKBOARD = re.compile(r"\\mathbb\s*([CNQRZ])\b")
_FUNCTIONS = r"((?:arc)?(?:sin|cos|tan)|ln|log|lg|exp)"
_FUNCTION = re.compile(
    rf"(?<![\\A-Za-z]){_FUNCTIONS}(?=\s*[(\\^_0-9]|\s+[a-z](?![A-Za-z]))|\\(?:text|operatorname)\s*\{{\s*{_FUNCTIONS}\s*\}}"
)
_OTHER_NAMES = (
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (re.compile(r"\\log\s*_\s*(?:e|\{\s*e\s*\})(?![A-Za-z])"), r"\\ln "),
    (re.compile(r"\\exp\s*(?:\(([^()]*)\)|\{([^{}]*)\})"), r"e^{\1\2}"),
)
_UNIT_FRACTION = re.compile(r"\\frac\s*\{\s*\\text\s*\{([^{}]*)\}\s*\}\s*\{\s*\\text\s*\{([^{}]*)\}\s*\}")
_TEMPERATURE = re.compile(r"(\^\{\\circ\})\s*(?:\\text\s*\{\s*([CF])\s*\}|([CF])(?![A-Za-z]))")
_CIRCLE = re.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ\b)")
_PLAIN = re.compile(r"-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")


def clean(text: str) -> str:
    """Return an answer in one notation, without the delimiters of formulas, sizes, fonts and superfluous spaces."""
    if _PLAIN.fullmatch(text):
        return text
    for step in (_unicode, _spaces, _fonts, _commands, _fractions, _ascii):
        text = step(text)
    return strip_punctuation(text)


def _unicode(text: str) -> str:
    """Write signs beyond ASCII as LaTeX does."""
    if not _EXOTIC.search(text):
        return text
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda run: f"^{{{run[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda run: f"_{{{run[0].translate(_SUBSCRIPTS)}}}", text)
    text = _SIGN.sub(lambda sign: _SIGNS[sign[0]], text)
    return _RADICAL.sub(lambda m: f"{_RADICALS[m[1]]}{{{m[2] or m[3] or m[4] or ''}}}", text)


def _spaces(text: str) -> str:
    text = _ABOUT.sub(r"\\approx ", text)
    return _SPACE.sub(" ", _NEGATIVE_SPACE.sub("", _SIZE.sub("", _DELIMITER.sub(" ", text))))


def _fonts(text: str) -> str:
    r"""Keep one kind of text, ``\text{...}``, and no bold or italics; upright i and e are the constants."""
    if "\\" not in text:
        return text
    text = _FONT.sub(lambda m: r"\text" if r"\text" in m[0] or "emph" in m[0] else "", _TEXT.sub(r"\\text", text))
    return _CONSTANT.sub(lambda m: m[1] or m[2] or "i", text)


def _commands(text: str) -> str:
    if "\\" in text:
        text = _COMMAND.sub(lambda m: _COMMANDS[m[1]] + " ", text)
        text = _CIRCLE.sub(r"^{\\circ}", _BLACKBOARD.sub(r"\\mathbb{\1}", text))
        text = _UNIT_FRACTION.sub(r"\\text{\1/\2}", _SYSTEM.sub(_listed, text))
        text = _TEMPERATURE.sub(lambda m: r"\text{ celsius}" if "C" in m[0] else r"\text{ fahrenheit}", text)
    return _BRACED_SIGN.sub(r"\1", text)


def _listed(system: re.Match[str]) -> str:
    """Write a system of equations as a list."""
    rows = [row.rstrip(" ,.;") for row in system[2].split(r"\\") if row.strip()]
    return ", ".join(row.replace("&", "") for row in rows) if all(map(_EQUATION.fullmatch, rows)) else system[0]


def _fractions(text: str) -> str:
    r"""Brace the arguments of ``\frac12`` and ``\sqrt2``; ``1{,}234`` has a separator, ``3{,}5`` a decimal comma."""
    text = _BRACED_COMMA.sub(lambda m: "" if re.match("[0-9]{3}(?![0-9])", text[m.end() :]) else ".", text)
    if "\\" not in text:
        return text
    text = _FRACTION.sub(lambda m: rf"\frac{{{m[1]}}}" + (f"{{{m[2]}}}" if m[2] else "") if m[1] else r"\frac", text)
    return _ROOT.sub(r"\\sqrt{\1}", text)


def _ascii(text: str) -> str:
    """Write operators and infinity of program text as LaTeX does."""
    for sign, latex in _ASCII:
        text = text.replace(sign, latex)
    text = _PLAIN_ROOT.sub(r"\\sqrt{\1\2}", _STAR.sub(r" \\cdot ", text))
    text = _FUNCTION.sub(lambda m: rf"\{m[1] or m[2]} ", text)
    for name, latex in _OTHER_NAMES:
        text = name.sub(latex, text)
    return _PLAIN_INFINITY.sub(r"\\infty", text)


def strip_punctuation(text: str) -> str:
    """Return a text without spaces around it and without the punctuation that ends it."""
    text = text.strip()
    while text.endswith((".", ",", ";", ":")) and not text.endswith((r"\,", r"\;", r"\:", "..")):
        text = text[:-1].rstrip()
    return text
