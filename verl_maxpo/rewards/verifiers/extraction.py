"""Find the answer of a response, by one rule for every verifier that reads text: see ``docs/verifiers.md``.

A response may be megabytes of text made to hurt: no regular expression backtracks over more than a bounded part of it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 4000  # of a statement; a longer one is too long for an answer
LONGEST_ENDS = 100_000, 10_000  # in which "answer is" and the last statement are looked for
_THOUGHT = re.compile(
    r"[<\[◁](?i:/(?:[a-z]+:)?(?:think|thinking|thought|reasoning|analysis)[>\]▷]|\|end_of_thought\|>|\|channel\|>final<\|message\|>)"
)
_BRACES = re.compile(
    r"[\\{}](?:(?<=\\)(?:(?P<box>boxed|fbox)\s*\{|(?:boxed|fbox)(?![A-Za-z])[^\S\n]*(?P<bare>[^\s${}]{1,80})"
    r"|[{}\\](?!boxed|fbox)(?:\\[{}\\](?!boxed|fbox))*)|(?<=\{)\{*|(?<=\}))"  # one class begins it: it is found faster
)
# What may stand between two boxes that give one answer together: "\boxed{1}$ and $\boxed{2}".
_JOINT = re.compile(r"[\s$()\[\]\\]*(?:,?\s*\b(?:and|or)\b|[,;])[\s$()\[\]\\]*\\f?box(?:ed)?\s*\{?")
_LONGEST_JOINT = 40
_MARK = re.compile(
    r"(?:(?<![A-Za-z])(?:answers?|(?:correct|right|best)\ (?:option|choice)|antwort|r[ée]ponse|respuesta|ответ)"
    r"(?![A-Za-z])|答案|答え)[*_`]*[ \t]*"
    r"(?:(?:(?:is|are|would\ be|equals|ist|est|es)(?![A-Za-z'’])|[:：=是为は])[*_`]*[ \t]*)+"
    r"(?!(?:correct|right)\b)"
    r"|^[#>*_ \t]*(?:(?:the|my|final|correct)[ \t]+)*answers?[*_ \t]*$"
    r"|^####(?=[ \t]*[-+$\\.0-9(])[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_ANNOUNCES = re.compile(r"(?:(?:given by|as follows|the following|below)\b)?[\W_]*", re.IGNORECASE)
_MARKDOWN = re.compile(r"(?<![\w)])(\*\*\*|\*\*|__|\*|`)(?=[^\s*_`])((?:(?!\1)[^\n]){1,300})\1(?!\w)")
_LINE_START = re.compile(
    r"(?<=\n)(?:[ \t]*(?:[#>*•]+|[-+](?=[ \t]+[^\s0-9.$(\\])|\(?[0-9]{1,2}[.)](?=[ \t]+\S))[ \t]+)+"
)
_DISPLAY = re.compile(r"(?:\$\$|\\\[)(?:[^$\\]|\\(?![][])){1,500}(?:\$\$|\\\])")
_NOISE = re.compile(r"\\(?:blacksquare|square|Box|qed|checkmark)(?![A-Za-z])|[■□∎✓✔✅]|<\|\w{1,40}\|>")
# A dollar sign opens a formula if the formula touches it, or if there is a space inside both; else it is a currency.
_FORMULA = (
    r"\$\$[^$\n]+\$\$|(?<!\\)\$(?![\s$])[^$\n]*(?<![\s\\])\$(?![0-9])|(?<!\\)\$[ ][^$\n]*[ ]\$"
    r"|\\\((?:[^\\\n]|\\(?![()])){1,500}\\\)|\\\[(?:[^\\\n]|\\(?![][])){1,500}\\\]"
)
_IN_FORMULA = re.compile(_FORMULA)
_SENTENCE = re.compile(rf"(?:{_FORMULA}|(?!\.(?:\s+(?![a-z])|$)|!(?:\s+[A-Z]|$)|。)[^\n])+")
_VALUE = re.compile(r"\\(?!f?boxed)|[0-9$π√∞½⅓⅔¼¾]")
_IS = re.compile(
    r"(?<![A-Za-z\\])(?:is|are|was|were|be|equals?|gives?|gets?|got|obtain|have|has|had|makes?|yields?|becomes?|conclude)"
    r"(?![A-Za-z'’])(?:\s+(?:equal\s+to|then|thus|therefore|exactly|simply|just|only|that)(?![A-Za-z]))*\s*:?\s*|:\s+|[：是为]"
)
_DENIED = re.compile(r"\b(?:not|cannot|never|doubt|neither|nor|hardly|no|if|unless)\b|n['’]t\b", re.IGNORECASE)
_DOUBT = re.compile(r"\b(?:or|if|unless|wrong|incorrect|false|impossible|maybe|perhaps|possibly|mod|base)\b")
# What may follow an answer without being a part of it: ", because 5 is odd", "(one half)".
_ASIDE = re.compile(
    r",?\s+(?:because|since|as|which|where|so|(?:and\s+)?not|for\s+(?:all|any|every|each))\s.*"
    r"|,?\s+\((?:[A-Za-z][a-z]+|a|[=≈])(?![A-Za-z(])[^()]*\)",
    re.DOTALL,
)
_NO_WORD = r"(?!(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|gcd|lcm|max|min|det)\b)"
_LEADING = re.compile(rf"(?:{_NO_WORD}(?:[A-Za-z][A-Za-z'’-]+,?|a)\s+)+(?![=^_*/+])")
_TRAILING = re.compile(rf"(?<=\S)((?:\s+{_NO_WORD}[A-Za-z][A-Za-z'’-]+)+)$")


class Found(NamedTuple):
    """A place where the answer may be, and what stands there."""

    place: str  # "box", "tag", "line" or "end"
    text: str


def candidates(response: str) -> Iterator[Found]:
    """Yield where the answer may be, the strongest first; the first is the answer unless the task cannot read it."""
    text = after_thinking(response)
    tagged = last_tag(text, "answer")
    text = tagged or text
    if (box := last_boxed(text)) is not None:
        yield Found("box", box)
    end = text[-LONGEST_ENDS[0] :]
    if (mark := last_match(_MARK, end)) and (line := line_from(end, mark.end())):
        yield Found("line", line)
    if tagged:
        yield Found("tag", " ".join(tagged.split()))
    elif last := _last_statement(text):
        yield Found("end", last)


def final_answer(response: str) -> Found | None:
    """Return the answer of a response as :func:`.answers.read` takes it, or None."""
    found = next(candidates(response), None)
    if found is None or found.place == "box":
        return found
    return Found(found.place, statement(found.text, first=found.place == "line"))


def stated_after(mark: re.Pattern[str], text: str) -> str | None:
    """Return what the line after the last mark states; the next line that says something, if that is all."""
    found = last_match(mark, text)
    return found and statement(line_from(text, found.end()), first=True)


def after_thinking(response: str) -> str:
    """Return what follows the last end of the model's thinking, or all of it if nothing does."""
    thought = last_match(_THOUGHT, response)
    rest = response[thought.end() :] if thought else ""
    return rest if rest.strip() else response


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the last match of a pattern in a text."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{...}`` whose braces are balanced, or None.

    Of nested boxes the innermost counts. Boxes joined by a comma, "and" or "or" are one answer: ``\boxed{1} and
    \boxed{2}`` gives ``1, 2``, which is right for a set of two only.
    """
    boxes = _boxes(text)
    first = len(boxes) - 1
    while first > 0 and _JOINT.fullmatch(text[boxes[first - 1][1] + 1 : boxes[first][0]][: _LONGEST_JOINT + 1]):
        first -= 1
    return ", ".join(text[start:end] for start, end in boxes[first:]) if boxes else None


def _boxes(text: str) -> list[tuple[int, int]]:
    """Return where the contents of the innermost balanced boxes begin and end, in order."""
    open_braces: list[int | None] = []  # where the content begins, None for a brace that opens no box
    boxes: list[tuple[int, int]] = []
    for match in _BRACES.finditer(text):
        if match["box"]:
            open_braces.append(match.end())
        elif match["bare"]:
            boxes.append(match.span("bare"))
        elif match[0][0] == "{":
            open_braces += [None] * len(match[0])
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


def line_from(text: str, start: int) -> str:
    """Return the first line from a position that says something, without Markdown."""
    lines = _undressed(text[start : start + LONGEST]).split("\n")
    return next((line.strip(" \t*_`") for line in lines if not _ANNOUNCES.fullmatch(line)), "")


def _last_statement(text: str) -> str | None:
    """Return the last sentence that has a formula or a number."""
    tail = text[-LONGEST_ENDS[1] :]
    sentences = _SENTENCE.findall(_undressed(f"\n{tail}"))
    if len(text) > len(tail):
        del sentences[:1]  # it may have begun before
    return next((sentence.strip() for sentence in reversed(sentences) if _VALUE.search(sentence)), None)


def _undressed(text: str) -> str:
    """Return a text without Markdown, with each displayed formula on one line."""
    text = _DISPLAY.sub(lambda block: " ".join(block[0].split()), text)
    return _MARKDOWN.sub(lambda mark: mark[2], _NOISE.sub("", _LINE_START.sub("", text)))


def statement(sentence: str, *, first: bool) -> str:
    r"""Return what a sentence, or the first one, states: what follows its last "is", without asides.

    Words around the value go into ``\text``, where the reader of answers judges them; what is denied comes whole.
    """
    if first and (match := _SENTENCE.search(sentence)):
        sentence = match[0]
    sentence = _ASIDE.sub(lambda aside: aside[0] if _DOUBT.search(aside[0]) else "", sentence).strip()
    masked = _IN_FORMULA.sub(lambda formula: "0" * len(formula[0]), sentence)
    start = 0
    for match in _IS.finditer(masked):
        if re.search("[0-9\\\\]", masked[match.end() :]):
            start = match.end()
    clause = max(masked.rfind(sign, 0, start) for sign in ",;:") + 1
    if _DENIED.search(masked, clause, start):
        start = clause
    return words_as_text(sentence[start:].strip().removeprefix("= "))


def words_as_text(value: str) -> str:
    r"""Put the words before and after a value into ``\text``."""
    if leading := _LEADING.match(value):
        value = rf"\text{{{leading[0]}}}{value[leading.end() :]}"
    return _TRAILING.sub(r"\\text{\1}", value)


def shorten(text: str, length: int = 80) -> str:
    """Return a text for an error message."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"
