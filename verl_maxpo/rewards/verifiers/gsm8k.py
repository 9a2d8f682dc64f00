"""GSM8K: the number after ``####``, or the last number, compared exactly as a decimal.

Extraction follows ``verl.utils.reward_score.gsm8k``, except that numbers, not texts, are compared (``72.0`` and ``72.``
are 72, ``1,000`` is 1000 in both methods) and that the whole response is read, not its last 300 characters. See Cobbe
et al., "Training Verifiers to Solve Math Word Problems" (arXiv:2110.14168).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.extraction import shorten

METHODS = ("strict", "flexible")
MAX_DIGITS = 100

_NUMBER = r"-?\$?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)"
_ANY = re.compile(_NUMBER)
_MARKED = re.compile(rf"####\s*(\$?{_NUMBER})")


def verify(
    response: str, ground_truth: Any, extra_info: Mapping[str, Any], *, method: str = "strict"
) -> VerifierResult:
    """Compare the final number of a response with the ground truth.

    Args:
        response: The response.
        ground_truth: A number, as one or as text, or a GSM8K solution that ends in ``#### number``.
        extra_info: Not used.
        method: ``strict`` wants the number after ``####``, the last one; ``flexible`` takes the last number.

    Raises:
        ValueError: The method is unknown, or the ground truth has no number.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    truth = _truth(str(ground_truth))
    marked = _MARKED.findall(response)
    found = marked if method == "strict" else _ANY.findall(response)
    if not found:
        return reject(Status.NO_ANSWER, "no number" + (" after ####" if method == "strict" else ""))
    if len(found[-1]) > MAX_DIGITS:
        return reject(Status.REFUSED, f"a number of more than {MAX_DIGITS} digits", format_ok=bool(marked))
    value = _decimal(found[-1])
    return accept(_text(value), correct=value == truth, format_ok=bool(marked))


def keeps_state(**options: Any) -> bool:
    """Say that no response changes the verdict on the next."""
    return False


def examples(ground_truth: Any, extra_info: Mapping[str, Any], **options: Any) -> tuple[str, str]:
    """Return a right and a wrong response, for the check of a data set."""
    truth = _truth(str(ground_truth))
    return f"#### {_text(truth)}", f"#### {_text(truth + 1)}"


@lru_cache(maxsize=4096)
def _truth(ground_truth: str) -> Decimal:
    marked = _MARKED.findall(ground_truth)
    text = marked[-1] if marked else ground_truth.strip().rstrip(".")
    if not re.fullmatch(rf"\$?{_NUMBER}", text):
        raise ValueError(f"ground_truth must be a number or end in '#### number', got {shorten(ground_truth)!r}")
    return _decimal(text)


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("$", ""))


def _text(value: Decimal) -> str:
    return str(int(value)) if value == value.to_integral_value() else f"{value:f}".rstrip("0")
