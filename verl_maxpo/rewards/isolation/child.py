"""What runs inside a child process of the pool."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from verl_maxpo.rewards.isolation.lockdown import limit_cpu_time, lock_down, take_violations
from verl_maxpo.rewards.registry import load_verifier
from verl_maxpo.rewards.result import Status, VerifierResult, reject
from verl_maxpo.rewards.routing import Route

_TEXT_LIMIT = 1000
_unavailable: list[tuple[Route, str]] = []


class VerifierUnavailableError(RuntimeError):
    """A verifier cannot be loaded, so that no response can be scored with it."""


class Task(NamedTuple):
    """One response to verify, and how."""

    route: Route
    response: str
    ground_truth: Any
    extra_info: Mapping[str, Any]


def initialize(routes: Sequence[Route], memory_limit_mb: int) -> None:
    """Load the verifiers, which may need what the lock-down takes away, and lock the process down."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler waits for Python code to have its turn
    for route in routes:
        try:
            module = inspect.getmodule(load_verifier(route.verifier))
            getattr(module, "prepare", lambda **_: None)(**route.options)
        except Exception as error:
            _unavailable.append((route, f"{type(error).__name__}: {error}"))
    lock_down(memory_limit_mb)


def run(task: Task, time_limit: float) -> VerifierResult:
    """Verify one response; whatever the verifier raises is the status ``crash``, what it tries in vain ``refused``.

    Raises:
        VerifierUnavailableError: The verifier could not be loaded.
    """
    for route, reason in _unavailable:
        if route == task.route:
            raise VerifierUnavailableError(
                f"the verifier {route.verifier!r} cannot be loaded ({reason}); "
                "is verl-maxpo installed with its extra, verl-maxpo[rewards]?"
            )
    limit_cpu_time(time_limit)
    take_violations()
    try:
        result = load_verifier(task.route.verifier)(
            task.response, task.ground_truth, task.extra_info, **task.route.options
        )
        if not isinstance(result, VerifierResult):
            raise TypeError(
                f"the verifier {task.route.verifier!r} must return a VerifierResult, got {type(result).__name__}"
            )
    except BaseException as error:
        result = reject(Status.CRASH, f"{type(error).__name__}: {error}")
    if violations := take_violations():
        return reject(Status.REFUSED, f"tried what a verifier may not do: {', '.join(sorted(set(violations)))}")
    answer = None if result.answer is None else _printable(result.answer)
    return replace(result, answer=answer, message=_printable(result.message))


def _printable(text: str) -> str:
    """Return text that fits a log line and that JSON dumps in UTF-8 can hold (no lone surrogates)."""
    return text[:_TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
