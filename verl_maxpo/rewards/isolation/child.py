"""What a child does: read a task, verify, write the verdict, until its connection closes."""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import replace

from verl_maxpo.rewards.isolation.audit import take_refused
from verl_maxpo.rewards.isolation.messages import HEADER, Task, encode, frame
from verl_maxpo.rewards.registry import load_verifier
from verl_maxpo.rewards.result import Status, VerifierResult, reject

_TEXT_LIMIT = 1000
_REFUSED_LIMIT = 10
_NO_FILES = ". A verifier sees no files once it runs: load them when its module is imported"


def serve(connection: int) -> None:
    """Send an empty frame, which says that this process is locked down, and answer one task after another."""
    _write(connection, frame(b""))
    while header := _read(connection, HEADER.size):
        task = _read(connection, *HEADER.unpack(header))
        _write(connection, frame(encode(_run(task))))


def _run(pickled: bytes) -> VerifierResult:
    """Verify a response. If the verifier raises, the status is ``crash``; refused actions are noted beside it."""
    take_refused()
    start = time.perf_counter()
    try:
        result = _verdict(pickle.loads(pickled))
    except BaseException as error:
        hint = _NO_FILES if isinstance(error, FileNotFoundError) else ""
        result = reject(Status.CRASH, _printable(f"{type(error).__name__}: {error}{hint}"))
    refused = tuple(map(_printable, take_refused()[:_REFUSED_LIMIT]))
    return replace(result, refused=refused, seconds=time.perf_counter() - start)


def _verdict(task: Task) -> VerifierResult:
    """Return what the verifier does, as built-in types that fit a message."""
    verifier = task.route.verifier
    result = load_verifier(verifier)(task.response, task.ground_truth, task.extra_info, **task.route.options)
    if not isinstance(result, VerifierResult):
        raise TypeError(f"the verifier {verifier!r} must return a VerifierResult, got {type(result).__name__}")
    return replace(
        result,
        score=float(result.score),
        correct=bool(result.correct),
        answer=None if result.answer is None else _printable(result.answer),
        format_ok=bool(result.format_ok),
        message=_printable(result.message),
        values={_printable(name): _plain(value) for name, value in result.values.items()},
    )


def _plain(value: object) -> float | str | None:
    return value if value is None else _printable(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]


def _printable(text: str) -> str:
    """Return text that fits a log line and that JSON dumps in UTF-8 can hold (no lone surrogates)."""
    return text[:_TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _read(descriptor: int, size: int) -> bytes:
    """Read so many bytes, or none where the other side has closed."""
    parts = []
    while size and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return b"" if size else b"".join(parts)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
