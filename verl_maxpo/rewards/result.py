"""What a verifier returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol


class Status(str, Enum):
    """How the verification of a response ended.

    ``timeout`` and ``crash`` mean that there is no verdict, only a default score; the others are verdicts.
    """

    OK = "ok"
    """The answer was found, read and compared."""
    NO_ANSWER = "no_answer"
    """The response has no answer where the task wants it."""
    UNPARSEABLE = "unparseable"
    """There is an answer, but it cannot be read as one."""
    TIMEOUT = "timeout"
    """Reading or comparing took longer than allowed and was stopped."""
    CRASH = "crash"
    """The verifier raised, or its process died."""
    REFUSED = "refused"
    """The answer was not evaluated because evaluating it would be unsafe or too costly."""


#: Statuses that say nothing about the response.
WITHOUT_VERDICT = (Status.TIMEOUT, Status.CRASH)


@dataclass(frozen=True)
class VerifierResult:
    """The verdict on one response.

    Attributes:
        score: In [0, 1], whatever the range of the scorer behind it; 0 where there is no verdict.
        correct: Whether the task counts as solved. Becomes verl's ``acc``.
        answer: The answer found in the response, as text, or None. Equal answers are equal text: maj@k votes by it.
        format_ok: Whether the response has the form that the task asks for, right or wrong.
        status: How the verification ended.
        message: For people: why the status is not ``ok``.
        values: Further numbers and texts for verl's dumps and metrics, such as ``raw_score`` of a scorer with its own
            scale. All verdicts on a data source have the same names; None where a response has no such value.
        refused: What the verifier tried but its locked-down process may not do, as names of Python's audit events
            (``open``, ``socket.connect``). The verdict stands.
        seconds: How long the verifier took, measured in its process.

    Raises:
        ValueError: The score is not a finite number in [0, 1].
    """

    score: float
    correct: bool
    answer: str | None = None
    format_ok: bool = False
    status: Status = Status.OK
    message: str = ""
    values: Mapping[str, float | str | None] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.score) and 0.0 <= self.score <= 1.0):
            raise ValueError(f"a verifier's score must be in [0, 1], got {self.score!r}")


class Verifier(Protocol):
    """A pure function that scores a response against the ground truth of its problem.

    It runs in a locked-down child process that is killed at the time limit (:mod:`.isolation.pool`). What it
    raises becomes the status ``crash``.

    Its module may also have

    - ``examples(ground_truth, extra_info, **options)``, which returns a right response (None where the row holds none)
      and a wrong one, for ``verl-maxpo check``, or None where it cannot say,
    - ``doubt(ground_truth)``, which returns why ordinary responses will hardly match a gold answer, or an empty text,
    - ``prepare(**options)``, which is called before the process is locked down, to load what the options name,
    - ``keeps_state = False``, which says that no response changes the verdict on the next, so that a process verifies
      many; otherwise each gets its own process, which costs milliseconds. A route's ``keeps_state`` overrides it.
    """

    def __call__(
        self, response: str, ground_truth: Any, extra_info: Mapping[str, Any], **options: Any
    ) -> VerifierResult:
        """Verify.

        Args:
            response: What the model wrote, untrusted.
            ground_truth: ``reward_model["ground_truth"]`` of the data set's row.
            extra_info: ``extra_info`` of the row.
            **options: What the route of the configuration gives beside the verifier's name.
        """


def accept(answer: str, *, correct: bool, score: float | None = None, format_ok: bool = True) -> VerifierResult:
    """Return the verdict on an answer that was compared; the score is 1 or 0 unless given."""
    return VerifierResult(float(correct) if score is None else score, correct, answer, format_ok)


def reject(status: Status, message: str, answer: str | None = None, *, format_ok: bool = False) -> VerifierResult:
    """Return the result for a response that scores 0 for a reason other than a wrong answer."""
    return VerifierResult(0.0, False, answer, format_ok, status, message)
