r"""Mathematical answers: read exactly where that is cheap, compared by math-verify where it is not.

A response has one final answer, found by :mod:`.extraction`, so listing guesses such as ``\boxed{1} \boxed{2}`` gains
nothing. :mod:`.answers` reads and compares it. ``docs/verifiers.md`` says what counts as equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.answers import Answer, canonical, read
from verl_maxpo.rewards.verifiers.answers.comparing import same
from verl_maxpo.rewards.verifiers.answers.costs import MAX_DEPTH
from verl_maxpo.rewards.verifiers.answers.reading import MAX_LENGTH
from verl_maxpo.rewards.verifiers.expressions import NotEvaluated, depth
from verl_maxpo.rewards.verifiers.extraction import final_answer, last_boxed, shorten

keeps_state = False  # one response does not change the verdict on the next

_DOUBTS = {
    "not an answer": r"(?i:n/?a|none|null|nan|unknown|-*|\?*)",
    "a sentence": r"[A-Z]\w*(\s+\S+){2,}\.",
    "two answers": r"\S+\s+or\s+\S+",
    "JSON": r'[\[{]\s*".*',
}


def verify(
    response: str, ground_truth: Any, extra_info: Mapping[str, Any], *, boxed_only: bool = False
) -> VerifierResult:
    r"""Compare the final answer of a response with the ground truth.

    The ground truth is a number, an answer in LaTeX, or a solution text, of which the last ``\boxed{...}`` or what
    follows the last ``####`` is the answer. With ``boxed_only`` a response without a box has no answer.

    Returns:
        The result; ``format_ok`` says that the answer is in a box, ``answer`` is its canonical text.

    Raises:
        ValueError: The ground truth is not an answer in LaTeX.
        MemoryError: The comparison needs more memory than there is.
    """
    truth = _text_of(ground_truth)
    _gold(truth)
    found = final_answer(response)
    boxed = found is not None and found.place == "box"
    if found is None or (boxed_only and not boxed):
        return reject(Status.NO_ANSWER, "no \\boxed answer" if boxed_only else "no answer")
    if len(found.text) > MAX_LENGTH:
        return reject(Status.REFUSED, f"an answer of more than {MAX_LENGTH} characters", format_ok=boxed)
    return _compare(found.text, truth, format_ok=boxed)


def prepare(**options: Any) -> None:
    """Compare equal and different formulas once: the first time takes some tenths of a second."""
    for answer, gold in (("x^2 + 1", "1 + x^2"), ("x^2 + 1", "1 - x^2"), (r"\sqrt{2} + 1", r"1 + \sqrt{2}")):
        verify(rf"\boxed{{{answer}}}", gold, {})


def examples(ground_truth: Any, extra_info: Mapping[str, Any], **options: Any) -> tuple[str, str]:
    """Return a right and a wrong response, for the check of a data set."""
    return f"\\boxed{{{_final(_text_of(ground_truth))}}}", "\\boxed{-271828.1828}"


def doubt(ground_truth: Any) -> str:
    """Return why ordinary responses are unlikely to match a gold answer, or an empty text."""
    text = _final(_text_of(ground_truth)).strip()
    return next(
        (f"{kind}: {shorten(text)!r}" for kind, form in _DOUBTS.items() if re.fullmatch(form, text, re.DOTALL)), ""
    )


@lru_cache(maxsize=4096)  # responses to one problem share few answers
def _compare(answer: str, ground_truth: str, *, format_ok: bool) -> VerifierResult:
    gold = _gold(ground_truth)
    if depth(answer) > MAX_DEPTH:
        return reject(Status.REFUSED, f"nested deeper than {MAX_DEPTH}", shorten(answer), format_ok=format_ok)
    found = read(answer)
    try:
        correct = same(gold, found)
    except NotEvaluated as error:
        return reject(error.status, str(error), shorten(answer), format_ok=format_ok)
    return accept(canonical(found), correct=correct, format_ok=format_ok)


def _text_of(ground_truth: Any) -> str:
    if isinstance(ground_truth, bool) or not isinstance(ground_truth, str | int | float):
        raise ValueError(f"ground_truth must be a text or a number, got {type(ground_truth).__name__}")
    return str(ground_truth)


def _final(ground_truth: str) -> str:
    """Return the answer of a solution text; a text without a box or ``####`` is the answer."""
    boxed = last_boxed(ground_truth)
    return ground_truth.rpartition("####")[2] if boxed is None else boxed


@lru_cache(maxsize=4096)
def _gold(ground_truth: str) -> Answer:
    gold = read(_final(ground_truth))
    braces = re.sub(r"\\\{(?=\s*\\begin)", "", gold.latex)  # a system has only this brace
    if not re.search(r"\w", gold.latex) or braces.count("{") != braces.count("}"):
        raise ValueError(f"the ground_truth {shorten(ground_truth)!r} is not an answer in LaTeX")
    return gold
