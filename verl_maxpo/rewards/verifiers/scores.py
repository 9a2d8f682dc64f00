"""Turn what a scoring function of verl's kind returns into a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verl_maxpo.rewards.result import VerifierResult


def to_result(outcome: Any, score_range: tuple[float, float]) -> VerifierResult:
    r"""Map a score from its range to [0, 1].

    Args:
        outcome: A number, or a mapping with ``score`` and perhaps ``acc`` (else it is correct at the greatest score),
            ``pred`` and ``format_ok`` (else it is well-formed).
        score_range: The least and the greatest score.

    Raises:
        ValueError: The outcome has no score, or one outside the range.
    """
    fields = outcome if isinstance(outcome, Mapping) else {"score": outcome}
    score = _number(fields.get("score"))
    low, high = score_range
    if not low <= score <= high:
        raise ValueError(f"the scoring function's score must be within score_range=[{low}, {high}], got {score}")
    mapped = (score - low) / (high - low)
    pred = fields.get("pred")
    return VerifierResult(
        score=mapped,
        correct=bool(fields.get("acc", mapped == 1)),
        answer=None if pred is None else str(pred),
        format_ok=bool(fields.get("format_ok", True)),
    )


def _number(score: Any) -> float:
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a scoring function must return a number or a mapping with 'score', got {score!r}") from error
