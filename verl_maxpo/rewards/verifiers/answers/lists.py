r"""Several answers at once: lists, sets, tuples, vectors and matrices, either sign."""

from __future__ import annotations

import re
from dataclasses import replace

from verl_maxpo.rewards.verifiers.answers.kinds import Answer, Kind, Read

MAX_ITEMS = 200
_AND_OR = r"(?:\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))"
_SPLIT = re.compile(
    r"(?P<open>\\\{|\\langle(?![A-Za-z])|\\begin\s*\{[^{}]*\}|[{(\[])"
    r"|(?P<close>\\\}|\\rangle(?![A-Za-z])|\\end\s*\{[^{}]*\}|[})\]])"
    rf"|(?P<joint>\s*(?:,\s*)?{_AND_OR}\s*|\s*[,;]\s*)|\\text\s*\{{[^{{}}]*\}}|\\."
)
_BRACKETS = re.compile(
    r"(\\\{|\\langle(?![A-Za-z])|\(|\[)\s*((?:.*?\S)?)\s*(\\\}|\\rangle(?![A-Za-z])|\)|\])", re.DOTALL
)
_PAIRS = {r"\{\}": "{}", r"\langle\rangle": "<>", "()": "()", "[]": "[]"}
_OR = re.compile(r"\s*(?:\\text\s*\{\s*,?\s*or\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|;)\s*")
_UNION = re.compile(r"\\\}\s*\\cup\s*\\\{")
_ENVIRONMENT = r"\{(?:[pb]?matrix|smallmatrix|array)\}"
_MATRIX = re.compile(
    rf"[(\[]?\s*\\begin\s*{_ENVIRONMENT}(?:\s*\{{[lcr| ]*\}})?(.*?)\\end\s*{_ENVIRONMENT}\s*[)\]]?", re.DOTALL
)
_ROW_END = re.compile(r"\\\\(?:\s*\[[^\[\]]*\])?")
_AXES = re.compile(r"([-+]?)\s*([^-+ijk]*?)\s*\\?(?:mathbf|vec|hat)?\s*\{\s*([ijk])\s*\}\s*")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])\s*")


def split(latex: str) -> list[str]:
    """Split an answer at the commas, semicolons, "and" and "or" outside brackets."""
    parts, start, level = [], 0, 0
    for match in _SPLIT.finditer(latex):
        if match["open"]:
            level += 1
        elif match["close"]:
            level = max(level - 1, 0)
        elif match["joint"] and level == 0:
            parts.append(latex[start : match.start()])
            start = match.end()
    return [part for part in (part.strip() for part in [*parts, latex[start:]]) if part]


def read_list(latex: str, read: Read) -> Answer | None:
    r"""Read ``1, 2``, ``x = 1 \text{ or } x = 2``, ``x = 1, y = 2`` and ``x=1, y=2 \text{ or } x=2, y=1``."""
    parts = split(latex)
    if not 2 <= len(parts) <= MAX_ITEMS:
        return None
    groups = _OR.split(latex)
    solutions = [read(group) for group in groups] if 1 < len(groups) < len(parts) else []
    if solutions and all(solution.brackets == "names" for solution in solutions):
        return Answer(Kind.ITEMS, tuple(solutions), latex, latex)
    items = [item for part in parts for item in both_signs(read(part), read)]
    unnamed = tuple(replace(item, name=None) for item in items)
    names = [item.name for item in items if item.name]
    if len({name[0] for name in names}) == len(items):  # x and y, but not x_1 and x_2
        ordered = sorted(range(len(items)), key=names.__getitem__)
        named = ",".join(sorted(names))
        return Answer(Kind.ITEMS, tuple(unnamed[i] for i in ordered), latex, latex, brackets="names", name=named)
    return Answer(Kind.ITEMS, unnamed, latex, latex, brackets="{}" if len(names) == len(items) else "")


def read_either_sign(latex: str, read: Read) -> Answer | None:
    r"""Read ``\pm 5``."""
    if len(_PLUS_MINUS.findall(latex)) != 1:
        return None
    texts = [re.sub(r"^\s*\+", "", _PLUS_MINUS.sub(sign, latex)) for sign in ("+", "-")]
    return Answer(Kind.ITEMS, tuple(read(text) for text in texts), latex, latex)


def both_signs(answer: Answer, read: Read) -> list[Answer]:
    r"""Return the two values of ``\pm 1`` or of a formula such as ``1 \pm x``, and any other answer as it is."""
    either = read_either_sign(answer.body, read) if answer.kind in (Kind.FORMULA, Kind.ITEMS) else None
    if either is None or answer.brackets:
        return [answer]
    return [replace(item, name=answer.name) for item in either.value]


def read_brackets(latex: str, read: Read) -> Answer | None:
    r"""Read a set, a tuple, a list in brackets or a vector in angles; ``\{1\} \cup \{2\}`` is one set."""
    latex = _UNION.sub(", ", latex)
    match = _BRACKETS.fullmatch(latex)
    brackets = _PAIRS.get(match[1] + match[3]) if match else None
    if not match or not brackets or not _is_one(latex):
        return None
    parts = split(match[2])
    if len(parts) > MAX_ITEMS or (brackets in ("()", "[]") and len(parts) < 2):
        return None
    items = tuple(item for part in parts for item in both_signs(read(part), read))
    if brackets == "[]" and all(item.kind is Kind.ITEMS and item.brackets == "[]" for item in items):
        return Answer(Kind.MATRIX, tuple(item.value for item in items), latex, latex)
    return Answer(Kind.ITEMS, items, latex, latex, brackets=brackets)


def _is_one(latex: str) -> bool:
    """Return whether the bracket that an answer begins with closes at its end."""
    level = 0
    for match in _SPLIT.finditer(latex):
        level += 1 if match["open"] else -1 if match["close"] else 0
        if level == 0 and match["close"]:
            return match.end() == len(latex)
    return False


def read_matrix(latex: str, read: Read) -> Answer | None:
    r"""Read a ``pmatrix``, ``bmatrix``, ``matrix`` or ``array``."""
    match = _MATRIX.fullmatch(latex)
    if not match or r"\begin" in match[1]:
        return None
    rows = [row for row in _ROW_END.split(match[1].replace(r"\hline", "")) if row.strip()]
    if not rows or sum(row.count("&") + 1 for row in rows) > MAX_ITEMS:
        return None
    value = tuple(tuple(read(entry.strip()) for entry in row.split("&")) for row in rows)
    return Answer(Kind.MATRIX, value, latex, latex)


def read_unit_vectors(latex: str, read: Read) -> Answer | None:
    r"""Read ``2\mathbf{i} - \mathbf{j} + 3\mathbf{k}``; :func:`.notation.clean` leaves braces of the fonts."""
    parts = _AXES.findall(latex) if "{i}" in latex else []
    axes = sorted(axis for _, _, axis in parts)
    if axes not in (["i", "j"], ["i", "j", "k"]) or _AXES.sub("", latex) or not all(sign for sign, _, _ in parts[1:]):
        return None
    items = tuple(read(sign + (size or "1")) for sign, size, _ in sorted(parts, key=lambda part: part[2]))
    return Answer(Kind.ITEMS, items, latex, latex, brackets="<>")
