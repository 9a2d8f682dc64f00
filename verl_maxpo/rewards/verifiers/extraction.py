"""Find the answer of a response, by one rule for every verifier that reads text: see ``docs/verifiers.md``.

Responses are untrusted and may be megabytes long: no regular expression here backtracks over more than a bounded part.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 4000  # characters of a line that are read
LONGEST_ENDS = 100_000, 10_000  # characters at the end that are searched for "answer is" and the last statement
_SHORT_END = 300  # characters at the end that are searched for the last statement first
_THOUGHT = re.compile(
    r"[<\[◁](?i:/(?:[a-z]+:)?(?:think|thinking|thought|reasoning|analysis)[>\]▷]|\|end_of_thought\|>|\|channel\|>final<\|message\|>)"
)
_THOUGHT_SIGNS = ("</", "[/", "<|", "◁")  # every match begins with one of these
_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*(?P<brace>\{)|(?![A-Za-z])[^\S\n]*(?P<bare>[^\s${}]{1,80}))")
_BRACE = re.compile(r"[\\{}](?:(?<=\\)[\\{}]|(?<=[{}]))")  # faster with one class at the start
# What stands between two boxes that give one answer together: "\boxed{1}$ and $\boxed{2}".
_JOINT = re.compile(r"[\s$()\[\]\\]*(?:,?\s*\b(?:and|or)\b|[,;])[\s$()\[\]\\]*\\f?box(?:ed)?\s*\{?\Z")
_LONGEST_JOINT = 40
# A mark begins with one of these, but for the case and the words before it.
_WORDS = "answer option choice antwort réponse reponse respuesta ответ 答案 答え ####"
_MARK_WORDS = _WORDS.split()
_MARK = re.compile(
    r"(?:(?<![A-Za-z])(?:answers?|antwort|r[ée]ponse|respuesta|ответ)(?![A-Za-z])|答案|答え"
    r"|(?:(?<=(?<![A-Za-z])correct\ )|(?<=(?<![A-Za-z])right\ )|(?<=(?<![A-Za-z])best\ ))(?:option|choice)(?![A-Za-z]))"
    r"[*_`]*[ \t]*"
    r"(?:(?:(?:is|are|would\ be|equals|ist|est|es)(?![A-Za-z'’])|[:：=是为は])[*_`]*[ \t]*)+"
    r"(?!(?:correct|right)\b)"
    r"|(?P<alone>answers?[*_ \t]*$)"
    r"|^####(?=[ \t]*[-+$\\.0-9(])[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_BEFORE_ALONE = re.compile(r"^[#>*_ \t]*(?:(?:the|my|final|correct)[ \t]+)*\Z", re.IGNORECASE | re.MULTILINE)
_ANNOUNCES = re.compile(r"(?:(?:given by|as follows|the following|below)\b)?[\W_]*", re.IGNORECASE)
_MARKDOWN = re.compile(r"(?<![\w)])(\*\*\*|\*\*|__|\*|`)(?=[^\s*_`])((?:(?!\1)[^\n]){1,300})\1(?!\w)")
_LINE_START = re.compile(r"\n(?:[ \t]*(?:[#>*•]+|[-+](?=[ \t]+[^\s0-9.$(\\])|\(?[0-9]{1,2}[.)](?=[ \t]+\S))[ \t]+)+")
_DISPLAY = re.compile(r"(?:\$\$|\\\[)(?:[^$\\]|\\(?![][])){1,500}(?:\$\$|\\\])")
_NOISE = re.compile(r"\\(?:blacksquare|square|Box|qed|checkmark)(?![A-Za-z])|[■□∎✓✔✅]|<\|\w{1,40}\|>")
# A dollar sign opens a formula if the formula touches it, or if there is a space inside both; else it is a currency.
_FORMULA = (
    r"\$\$[^$\n]+\$\$|(?<!\\)\$(?![\s$])[^$\n]*(?<![\s\\])\$(?![0-9])|(?<!\\)\$[ ][^$\n]*[ ]\$"
    r"|\\\((?:[^\\\n]|\\(?![()])){1,500}\\\)|\\\[(?:[^\\\n]|\\(?![][])){1,500}\\\]"
)
_IN_FORMULA = re.compile(_FORMULA)
_SENTENCE = re.compile(rf"(?:[^\n\\$.!。]+|{_FORMULA}|(?!\.(?:\s+(?![a-z])|$)|!(?:\s+[A-Z]|$)|。)[^\n])+")
_VALUE = re.compile(r"\\(?!f?boxed)|[0-9$π√∞½⅓⅔¼¾]")
_IS = re.compile(
    r"(?<![A-Za-z\\])(?:is|are|was|were|be|equals?|gives?|gets?|got|obtain|have|has|had|makes?|yields?|becomes?|conclude)"
    r"(?![A-Za-z'’])(?:\s+(?:equal\s+to|then|thus|therefore|exactly|simply|just|only|that)(?![A-Za-z]))*\s*:?\s*|:\s+|[：是为]"
)
_DENIED = re.compile(r"\b(?:not|cannot|never|doubt|neither|nor|hardly|no|if|unless)\b|n['’]t\b", re.IGNORECASE)
_DOUBT = re.compile(r"\b(?:or|if|unless|wrong|incorrect|false|impossible|maybe|perhaps|possibly|mod|base)\b")
# Asides after an answer: ", because 5 is odd", "(one half)".
_ASIDE = re.compile(
    r",?\s+(?:because|since|as|which|where|so|(?:and\s+)?not|for\s+(?:all|any|every|each))\s.*"
    r"|,?\s+\((?:[A-Za-z][a-z]+|a|[=≈])(?![A-Za-z(])[^()]*\)",
    re.DOTALL,
)
_NO_WORD = r"(?!(?:arc)?(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|gcd|lcm|max|min|det)\b)"
_LEADING = re.compile(rf"(?:{_NO_WORD}(?:[A-Za-z][A-Za-z'’-]+,?|a)\s+)+(?![=^_*/+])")
_TRAILING = re.compile(rf"(?<=\S)((?:\s+{_NO_WORD}[A-Za-z][A-Za-z'’-]+)+)$")


class Found(NamedTuple):
    """A place where the answer may be, and its text."""

    place: str  # "box", "tag", "line" or "end"
    text: str


def candidates(response: str) -> Iterator[Found]:
    """Yield the places where the answer may be, best first. The first is the answer unless the task cannot read it."""
    text = after_thinking(response)
    tagged = last_tag(text, "answer")
    text = tagged or text
    if (box := last_boxed(text)) is not None:
        yield Found("box", box)
    end = text[-LONGEST_ENDS[0] :]
    if (mark := _last_mark(end)) and (line := line_from(end, mark.end())):
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
    """Return the value stated after the last mark, on the same line or else on the next line with text."""
    found = last_match(mark, text)
    return found and statement(line_from(text, found.end()), first=True)


def after_thinking(response: str) -> str:
    """Return the text after the model's thinking, or the whole response if nothing follows the thinking."""
    if not any(sign in response for sign in _THOUGHT_SIGNS):
        return response
    thought = last_match(_THOUGHT, response)
    rest = response[thought.end() :] if thought else ""
    return rest if rest.strip() else response


def _last_mark(text: str) -> re.Match[str] | None:
    """Return the last "answer is" or the like, found by its words: the regular expression alone is slow."""
    lower = text.replace("İ", "I").lower()  # as long as the text
    found = {word: lower.rfind(word) for word in _MARK_WORDS}
    while (start := max(found.values())) >= 0:
        mark = _MARK.match(text, start)
        if mark and (not mark["alone"] or _BEFORE_ALONE.search(text, max(start - 40, 0), start)):
            return mark
        found = {word: lower.rfind(word, 0, at) if at == start else at for word, at in found.items()}
    return None


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the last match of a pattern in a text."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{...}`` whose braces are balanced, or None.

    Of nested boxes the innermost counts. Boxes joined by a comma, "and" or "or" are one answer: ``\boxed{1} and
    \boxed{2}`` gives ``1, 2``, which is right for a set of two only.
    """
    contents: list[str] = []
    closing: list[int] = []  # braces that close what opens before them, the nearest last
    final = text.rfind("}")
    right = last = len(text)  # where the last box begins, and the content of the last one that counts
    for box in reversed([box for box in _BOX.finditer(text) if box["bare"] or box.end() <= final]):
        joint = _JOINT.search(text, max(last - _LONGEST_JOINT, 0), last) if contents else None
        if contents and not joint:
            break
        for at in reversed([brace.start() for brace in _BRACE.finditer(text, box.end(), right)]):
            if text[at] == "}":
                closing.append(at)
            elif text[at] == "{" and closing:
                closing.pop()
        right = box.start()
        start, end = box.span("bare") if box["bare"] else (box.end(), closing.pop() if closing else len(text) + 1)
        if joint and end < joint.start() - 1:
            break
        if end <= last:
            contents.append(text[start:end])
            last = start
    return ", ".join(reversed(contents)) if contents else None


def last_tag(text: str, tag: str) -> str | None:
    """Return what the last complete ``<tag>...</tag>`` holds, without surrounding whitespace, or None."""
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, end) if end >= 0 else -1
    end = text.find(f"</{tag}>", start)  # not a closing tag that stands there twice
    return text[start + len(tag) + 2 : end].strip() if start >= 0 else None


def line_from(text: str, start: int) -> str:
    """Return the first line with text from a position on, without Markdown."""
    lines = _undressed(text[start : start + LONGEST]).split("\n")
    return next((line.strip(" \t*_`") for line in lines if not _ANNOUNCES.fullmatch(line)), "")


def _last_statement(text: str) -> str | None:
    """Return the last sentence that has a formula or a number."""
    near = max(text.rfind(end, -LONGEST_ENDS[1], -_SHORT_END) for end in ("\n", ". "))
    for start in (near, max(len(text) - LONGEST_ENDS[1], 0)):
        sentences: list[str] = _SENTENCE.findall(_undressed(f"\n{text[start:]}"))
        del sentences[: start != 0]  # it may be cut
        if found := next((sentence.strip() for sentence in reversed(sentences) if _VALUE.search(sentence)), None):
            return found
    return None


def _undressed(text: str) -> str:
    """Return a text without Markdown, with each displayed formula on one line."""
    text = _DISPLAY.sub(lambda block: " ".join(block[0].split()), text)
    text = _NOISE.sub("", _LINE_START.sub("\n", text))
    return _MARKDOWN.sub(lambda mark: mark[2], text) if any(sign in text for sign in "*_`") else text


def statement(sentence: str, *, first: bool) -> str:
    r"""Return the value that a sentence states: the text after its last "is", without asides.

    With ``first`` only the first sentence counts. Words around the value are put into ``\text`` for the reader of
    answers to judge. A denied value comes with its whole clause.
    """
    if (word := sentence.removesuffix(".")).isalnum():
        return word
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
