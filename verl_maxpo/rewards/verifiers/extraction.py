r"""Find the final answer in a response, in time linear in its length.

A response is untrusted and may be megabytes of text made to hurt, so there is no regular expression here that can
backtrack over more than the text between two matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_BRACES = re.compile(
    r"\\(?P<box>boxed|fbox)\s*\{|\\(?:boxed|fbox)(?![A-Za-z])[^\S\n]*(?P<bare>[^\s${}]{1,80})|\\[{}\\](?!boxed|fbox)|[{}]"
)
# What may stand between two boxes that give one answer together: "\boxed{1}$ and $\boxed{2}".
_JOINT = re.compile(r"[\s$()\[\]\\]*(?:,?\s*\b(?:and|or)\b|[,;])[\s$()\[\]\\]*")
_LONGEST_JOINT = 40
_HASHES = r"####(?=[ \t]*[-+$\\.0-9(])"  # before an answer, as GSM8K's solutions have it
_ANSWER_IS = re.compile(
    rf"\banswers?\b(?:[ \t]*(?:\bis\b|\bare\b|[:=])+|[ \t]*(?=\n))[ \t]*:?\s*|^{_HASHES}[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_MARKDOWN = re.compile(
    rf"(?<![\w)])(\*\*|__|\*|`)(?=[^\s*_`])([^*_`\n]+)\1(?!\w)|^(?!{_HASHES})[#>]+[ \t]+", re.MULTILINE
)
_WORD = re.compile(r"(?<![\\A-Za-z])(?!and\b)[A-Za-z]{3,}")
_SCALE = r"(?:\s+(?:dozen|hundred|thousand|million|billion|trillion|percent)\b)?"
_ITEM = (
    r"(?:\$\$?[^$]+\$\$?|\\\((?:[^\\]|\\(?!\)))*\\\)|\\\[(?:[^\\]|\\(?!\]))*\\\]"
    rf"|-?(?:[0-9]+(?:,[0-9]{{3}})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?(?:\s*\\?%)?{_SCALE})"
)
_LIST = re.compile(rf"{_ITEM}(?:\s*(?:,?\s*\b(?:and|or)\b|,)\s*{_ITEM})*")
_ABOUT = re.compile(r"\b(?:about|approximately|roughly|around|nearly|almost|not)\s+$", re.IGNORECASE)
_IN_WORDS = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+){0,7}")


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{...}`` whose braces are balanced, or None.

    Of nested boxes the innermost counts. Boxes joined by a comma, "and" or "or" are one answer: ``\boxed{1} and
    \boxed{2}`` gives ``1, 2``, which is right for a set of two only.
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    first = len(boxes) - 1
    while first > 0 and _joined(text, boxes[first - 1][1], boxes[first][0]):
        first -= 1
    return ", ".join(text[start:end] for start, end in boxes[first:])


def _joined(text: str, end: int, start: int) -> bool:
    between = text[end + 1 : start]
    box = max(between.rfind("\\boxed"), between.rfind("\\fbox"))
    return len(between) <= _LONGEST_JOINT and box >= 0 and _JOINT.fullmatch(between[:box]) is not None


def _boxes(text: str) -> list[tuple[int, int]]:
    """Return where the contents of the innermost balanced boxes begin and end, in order."""
    open_braces: list[int | None] = []  # where the content begins, None for a brace that opens no box
    boxes: list[tuple[int, int]] = []
    for match in _BRACES.finditer(text):
        if match["box"]:
            open_braces.append(match.end())
        elif match["bare"]:
            boxes.append(match.span("bare"))
        elif match[0] == "{":
            open_braces.append(None)
        elif match[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and not (boxes and boxes[-1][0] > start):
                boxes.append((start, match.start()))
    return boxes


def last_tag(text: str, tag: str) -> str | None:
    """Return what the last complete ``<tag>...</tag>`` holds, without surrounding whitespace, or None."""
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, end) if end >= 0 else -1
    end = text.find(f"</{tag}>", start)  # not a closing tag that stands there twice
    return text[start + len(tag) + 2 : end].strip() if start >= 0 else None


def tail(text: str, length: int = 300) -> str:
    """Return the end of a text, where a response without a marked answer has its answer."""
    return text[-length:]


def unboxed(text: str, is_answer: Callable[[str], bool]) -> str | None:
    """Return the final answer of a text without a box: of several joined by a comma, "and" or "or" all of them.

    It is what follows "answer is", "Answer:" or ``####``, also on the next line and in Markdown, or else the last
    formula or number. ``is_answer`` says whether words such as "forty-two" are one.
    """
    text = _MARKDOWN.sub(lambda mark: mark[2] or "", text)
    phrases = _ANSWER_IS.split(text)[1:]
    if phrases:
        phrase = phrases[-1].strip().removeprefix("$$").strip().partition("\n")[0].strip(" *$").rstrip(".!")
        if phrase and (not _WORD.search(phrase) or (_IN_WORDS.fullmatch(phrase) and is_answer(phrase))):
            return phrase
        if found := _LIST.search(phrase):
            return _with_doubt(phrase, found)
    lists = list(_LIST.finditer(text))
    return _with_doubt(text, lists[-1]) if lists else None


def _with_doubt(text: str, found: re.Match[str]) -> str:
    """Return what was found, with a word such as "about" or "not" before it."""
    doubt = _ABOUT.search(text, max(found.start() - 20, 0), found.start())
    return f"{doubt[0]}{found[0]}" if doubt else found[0]


def shorten(text: str, length: int = 80) -> str:
    """Return a text for an error message."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"
