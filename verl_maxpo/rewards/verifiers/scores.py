"""Turn the outcome of a scoring function as verl has them into a result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from verl_maxpo.rewards.result import VerifierResult

_OWN = ("score", "acc", "answer", "pred", "format_ok")


def to_result(outcome: Any, score_range: tuple[float, float]) -> VerifierResult:
    r"""Map a score from its range to [0, 1].

    Args:
        outcome: A number, or a mapping with ``score`` and perhaps ``acc`` (else it is correct at the greatest score),
            ``answer`` (or ``pred``) and ``format_ok`` (else it is well-formed). Its other numbers and texts, such as
            ``judge``, become :attr:`.VerifierResult.values`.
        score_range: The least and the greatest score.

    Raises:
        ValueError: The outcome has no score, one outside the range, or a value that is neither number nor text.
    """
    fields = outcome if isinstance(outcome, Mapping) else {"score": outcome}
    score = _number(fields.get("score"))
    low, high = score_range
    if not low <= score <= high:
        raise ValueError(
            f"the scoring function's score must be within score_range=[{low:g}, {high:g}], got {score:g}. Widen it in "
            "the verifier's own options, {verifier: ..., score_range: [LOW, HIGH]}, which maps scores to [0, 1]; "
            "reward.reward_kwargs.score_range=[LOW,HIGH] maps them back"
        )
    mapped = (score - low) / (high - low)
    answer = fields.get("answer", fields.get("pred"))
    return VerifierResult(
        score=mapped,
        correct=bool(fields.get("acc", mapped == 1)),
        answer=None if answer is None else str(answer),
        format_ok=bool(fields.get("format_ok", True)),
        values={name: _value(name, value) for name, value in fields.items() if name not in _OWN},
    )


def usable_reward(outcome: Any) -> float:
    """Return the reward that verl reads from the outcome of a reward function.

    Raises:
        ValueError: verl could not use it, and would fail once per response.
    """
    import torch

    score: Any = outcome.get("score") if isinstance(outcome, dict) else outcome
    cell = torch.zeros(1)
    try:
        cell[-1] = score  # what verl does with it, which takes no numpy.float32
    except (TypeError, ValueError, RuntimeError):
        kind = f"{type(score).__module__}.{type(score).__qualname__}"
        raise ValueError(
            "verl needs a Python number, or a dict with one as 'score': return float(...) of it, got "
            f"{kind} in {str(outcome)[:60]}"
        ) from None
    if not math.isfinite(cell.item()):
        raise ValueError(f"a reward must be finite, got {score}")
    return cell.item()


def _number(score: Any) -> float:
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a scoring function must return a number or a mapping with 'score', got {score!r}") from error


def _value(name: str, value: Any) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        if math.isfinite(number := float(value)):
            return number
    except (TypeError, ValueError):
        pass
    raise ValueError(f"a scoring function's {name} must be a finite number, a text or None, got {value!r}")
