r"""Multiple choice: a letter.

Where it is looked for, the strongest form first; of several of one form the last counts:

1. ``\boxed{C}``,
2. ``<answer>C</answer>``,
3. "the answer is (C)", "Answer: C",
4. a last line that is a letter and nothing else.

A hedge such as "A or B" is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.extraction import last_boxed, last_tag, shorten, tail

keeps_state = False

_DECORATION = re.compile(r"\\(?:text|textbf|mathrm|mathbf|bf|rm)\b|[\s{}$*()\[\]]")
# A capital letter that is no word: not the article in "the answer is A dog", nor "I think".
_PHRASE = re.compile(
    r"(?i:\banswer)\s*(?:(?i:is|would be|choice is|option is)\s*:?|[:=])\s*(?i:option|choice)?"
    r"[\s*$({\[]{0,5}(?:\\(?:text|textbf|mathrm|boxed)\{)?\(?([A-J])(?![\w'’])"
    r"(?!(?<=[AI])\s+(?!(?:because|since|as)\b)[a-z])"
)
# Another letter beside the chosen one: "A or B", "(A) 5 and (B) 6", "A/C".
_HEDGE = re.compile(
    r"[\s*$)}\].:]*(?:,|/|&|\bor\b|\band\b|\\text\s*\{\s*(?:or|and)\s*\})"
    r"[\s*$({\[]*(?:\\?[a-z]+\{)?\(?[A-J](?![\w'’])"
)
_LABELS = re.compile(r"\(([A-J])\)")
_LONGEST_LINE = 40


def verify(
    response: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    *,
    choices: str = "ABCDEFGHIJ",
    index_from: int | None = None,
) -> VerifierResult:
    """Compare the letter that a response chooses with the right one.

    Args:
        response: The response.
        ground_truth: A letter, or with ``index_from`` the position of one.
        extra_info: Not used.
        choices: The letters there are, within A to J.
        index_from: The position of the first choice, 0 or 1, where the ground truth is a position.

    Raises:
        ValueError: The options are ill-formed, or the ground truth is none of the choices.
    """
    if not choices or not set(choices) <= set("ABCDEFGHIJ"):
        raise ValueError(f"choices must be letters within 'ABCDEFGHIJ', got {choices!r}")
    truth = _truth(ground_truth, choices, index_from)
    answer = _chosen(response)
    if answer is None:
        return reject(Status.NO_ANSWER, "no choice")
    letter = _letter(answer)
    if letter is None or letter not in choices:
        return reject(Status.UNPARSEABLE, f"not one of {choices}", shorten(answer))
    return accept(letter, correct=letter == truth)


def examples(
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    *,
    choices: str = "ABCDEFGHIJ",
    index_from: int | None = None,
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
    letter = _letter(ground_truth) if isinstance(ground_truth, str) else None
    if letter is None or letter not in choices:
        raise ValueError(f"ground_truth must be one of {choices} (or set index_from), got {ground_truth!r}")
    return letter


def _chosen(response: str) -> str | None:
    """Return the text of the strongest form that the response has."""
    for text in (last_boxed(response), last_tag(response, "answer")):
        if text is not None:
            return text
    end = tail(response)
    phrases = list(_PHRASE.finditer(end))
    if phrases:
        return None if _HEDGE.match(end, phrases[-1].end()) else phrases[-1][1]
    line = tail(response.rstrip(), _LONGEST_LINE).rpartition("\n")[2]
    return line if _letter(line) else None


def _letter(text: str) -> str | None:
    r"""Return the letter of ``C``, ``(c)``, ``C.``, ``\text{C}`` or ``(C) a dog``."""
    if len(set(_LABELS.findall(text[:200]))) > 1:  # "(A) or (B)"
        return None
    text = text[:_LONGEST_LINE]
    labelled = re.match(r"\s*(?:\\text(?:bf)?\{)?\s*\(?([A-J])[).:]\}?(?=[\s\\~])", text)
    bare = _DECORATION.sub("", text).rstrip(".:").upper()
    return labelled[1] if labelled else bare if re.fullmatch("[A-J]", bare) else None
