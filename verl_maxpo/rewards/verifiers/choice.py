r"""Multiple choice: a letter.

:mod:`.extraction` lists the places where it may be. The first place that names a letter counts, so a box with a formula
does not hide the line "Answer: D". The last place is a final line that is only an option ("C) Paris"). Several letters
("A or B", "A; B", a list of all options) are not an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.extraction import Found, after_thinking, candidates, line_from, shorten

LETTERS = "ABCDEFGHIJ"

keeps_state = False  # one response does not change the verdict on the next

_DRESS = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|bf|rm|boxed)\b|\\[()\[\]\\ ,;]|[{}$*`_~\"“”]")
# A letter alone, with a label's punctuation ("C. Paris", "(C) Paris"), or before what cannot be more of a phrase.
_LETTER = re.compile(
    r"\s*(?i:(?:(?:the|my|final|correct)\s+)*answer\s*(?:is|:)[\s:]*)?(?i:(?:the|correct|option|choice|letter)\s+)*"
    r"[(\[]?\s*(?P<letter>[A-J]|[a-j](?=\W*$))(?:\s*[).:\]。]+(?=[\s,;]|$)|\s*(?=[,;/&|+\n]|$)"
    r"|(?=\s+(?:[(–—-]|[A-J]\b|(?:or|and|because|since|as)\b)))"
)
# Another letter: joined to the first one, or with such punctuation; not the subject of a sentence ("A is wrong").
_OTHER = re.compile(
    r"(?:[,;/&|+().:\n]\s*|(?<=[A-J])\s+|\b(?:and|or|maybe|perhaps|else|either)\s+)\(?([A-J])(?![\w'’])(?!\)?\s+(?!and\b|or\b)[a-z])"
    r"|\s\(?([A-J])[).:]\s"
)
_LONGEST = 200
_LONGEST_LINE = 80


def verify(
    response: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    *,
    choices: str = LETTERS,
    index_from: int | None = None,
) -> VerifierResult:
    """Compare the letter that a response chooses with the right one.

    The ground truth is one of the letters ``choices``, which are within A to J, or the position of one, where
    ``index_from`` says what the position of the first is, 0 or 1.

    Raises:
        ValueError: The options are ill-formed, or the ground truth is none of the choices.
    """
    if not choices or not set(choices) <= set(LETTERS):
        raise ValueError(f"choices must be letters within {LETTERS!r}, got {choices!r}")
    truth = _truth(ground_truth, choices, index_from)
    unread = None
    for place, text in _places(response):
        letters = _letters(text)
        if len(letters) == 1 and letters <= set(choices):
            letter = letters.pop()
            return accept(letter, correct=letter == truth)
        if letters:
            return reject(Status.UNPARSEABLE, f"not one of {choices}", shorten(text))
        unread = unread or (text if place in ("box", "tag") else None)
    if unread is None:
        return reject(Status.NO_ANSWER, "no choice")
    return reject(Status.UNPARSEABLE, f"not one of {choices}", shorten(unread))


def examples(
    ground_truth: Any, extra_info: Mapping[str, Any], *, choices: str = LETTERS, index_from: int | None = None
) -> tuple[str, str]:
    """Return a right and a wrong response, for the check of a data set."""
    truth = _truth(ground_truth, choices, index_from)
    return f"\\boxed{{{truth}}}", f"\\boxed{{{choices[choices.index(truth) - 1]}}}"


def _truth(ground_truth: Any, choices: str, index_from: int | None) -> str:
    if index_from is not None:
        try:
            return choices[range(index_from, index_from + len(choices)).index(int(ground_truth))]
        except (TypeError, ValueError) as error:
            last = index_from + len(choices) - 1
            raise ValueError(f"ground_truth must be {index_from} to {last}, got {ground_truth!r}") from error
    letters = _letters(ground_truth) if isinstance(ground_truth, str) else set()
    if len(letters) != 1 or not letters <= set(choices):
        raise ValueError(f"ground_truth must be one of {choices} (or set index_from), got {ground_truth!r}")
    return letters.pop()


def _places(response: str) -> Iterator[Found]:
    """Yield where a letter may be, the strongest first."""
    yield from (found for found in candidates(response) if found.place != "end")
    last = after_thinking(response)[-_LONGEST:].rstrip().rpartition("\n")[2]
    if len(last) <= _LONGEST_LINE:
        yield Found("end", line_from(last, 0))


def _letters(text: str) -> set[str]:
    r"""Return the letter of ``C``, ``(c)``, ``C.``, ``\text{C}`` or ``(C) a dog``; for a hedge, all that it names."""
    text = _DRESS.sub(" ", text[:_LONGEST])
    chosen = _LETTER.match(text)
    if not chosen:
        return set()
    others = _OTHER.finditer(text, chosen.end("letter"))
    return {chosen["letter"].upper(), *(other[1] or other[2] for other in others)}
