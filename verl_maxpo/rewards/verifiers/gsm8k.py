"""GSM8K: the rest of the line after ``####``, or the final answer in any form, compared exactly.

Unlike in ``verl.utils.reward_score.gsm8k``, the answer is the whole rest of the line (``#### 5 or 6`` is not a number),
numbers are compared, not texts (``72.0`` is 72), and ``flexible`` looks where ``math`` does. See Cobbe et al.,
"Training Verifiers to Solve Math Word Problems" (arXiv:2110.14168).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.answers import Answer, Kind, read
from verl_maxpo.rewards.verifiers.answers.comparing import same_number
from verl_maxpo.rewards.verifiers.answers.numerals import Number
from verl_maxpo.rewards.verifiers.extraction import after_thinking, final_answer, last_boxed, shorten, stated_after

METHODS = ("strict", "flexible")
MAX_LENGTH = 200

keeps_state = False  # one response does not change the verdict on the next

_MARK = re.compile(r"####(?<!#####)(?!#)[ \t]*:?")
_CALCULATOR = re.compile(r"<<[^<>]*>>")  # "9*2 = <<9*2=18>>18", as the data set's solutions have it


def verify(
    response: str, ground_truth: Any, extra_info: Mapping[str, Any], *, method: str = "strict"
) -> VerifierResult:
    """Compare the final number of a response with the ground truth.

    The ground truth is a number, as one or as text, or a GSM8K solution that ends in ``#### number``. The method
    ``strict`` accepts only the number after the last ``####``; ``flexible`` then accepts any other form.

    Raises:
        ValueError: The method is unknown, or the ground truth has no number.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    truth = _truth(str(ground_truth))
    marked = stated_after(_MARK, _CALCULATOR.sub("", after_thinking(response)))
    answer = final_answer(response) if method == "flexible" and not marked else None
    found = marked if answer is None else answer.text
    if not found:
        return reject(Status.NO_ANSWER, "no number" + (" after ####" if method == "strict" else ""))
    if len(found) > MAX_LENGTH:
        return reject(Status.REFUSED, f"an answer of more than {MAX_LENGTH} characters", format_ok=marked is not None)
    number = _number(found)
    if number is None:
        return reject(Status.UNPARSEABLE, "not one number", shorten(found), format_ok=True)
    return accept(str(number.value), correct=same_number(truth, number), format_ok=marked is not None)


def examples(ground_truth: Any, extra_info: Mapping[str, Any], **options: Any) -> tuple[str, str]:
    """Return a right and a wrong response, for the check of a data set."""
    truth = _truth(str(ground_truth)).value
    return f"#### {truth}", f"#### {truth + 1}"


@lru_cache(maxsize=4096)
def _truth(ground_truth: str) -> Number:
    marked = stated_after(_MARK, ground_truth)
    number = _number(ground_truth if marked is None else marked) if len(ground_truth) <= 10_000 else None
    if number is None:
        raise ValueError(f"ground_truth must be a number or end in '#### number', got {shorten(ground_truth)!r}")
    return number


@lru_cache(maxsize=4096)
def _number(text: str) -> Number | None:
    """Read one number; its name, currency, unit and percent sign do not matter."""
    answer: Answer = read(re.sub(r"^([-+])\s+", r"\1", last_boxed(text) or text))
    return answer.value if answer.kind is Kind.NUMBER and not answer.approximate else None
