"""A scoring function of the user's, as verl's ``custom_reward_function`` takes it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from verl_maxpo.messages import did_you_mean
from verl_maxpo.rewards.result import Status, VerifierResult, reject
from verl_maxpo.rewards.verifiers.scores import to_result, usable_reward

_PACKAGE = "pkg://"


def verify(
    response: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    *,
    path: str,
    name: str,
    score_range: Sequence[float] | None = (0.0, 1.0),
    **options: Any,
) -> VerifierResult:
    """Score a response with a function, called as verl calls it, in a process of its own (see ``keeps_state``).

    The call is ``name(data_source=, solution_str=, ground_truth=, extra_info=, **options)``; ``extra_info`` has what
    verl's own managers add to that of the row: ``num_turns``, ``rollout_reward_scores`` and what tools report. It
    returns a number or a mapping with ``score`` and perhaps ``acc``, ``answer``, ``format_ok`` and further numbers and
    texts, which are reported with every sample. The file may have :func:`examples` for ``verl-maxpo check``.

    Args:
        response: The response.
        ground_truth: The row's.
        extra_info: The row's, and what verl adds; its ``data_source`` is passed to the function.
        path: A Python file, or ``pkg://package.module``.
        name: The function's name.
        score_range: The lowest and highest score, which become 0 and 1. With None the result only says whether verl's
            own reward managers could use the score (the status is ``unparseable`` if not) and what they would report
            beside it.
        **options: Passed to the function.

    Raises:
        ValueError: The function is not found, or its score is outside the range or no number.
    """
    function = _function(path, name)
    outcome = function(
        data_source=extra_info.get("data_source", ""),
        solution_str=response,
        ground_truth=ground_truth,
        extra_info=dict(extra_info),
        **options,
    )
    if score_range is not None:
        return to_result(outcome, _range(score_range))
    try:
        usable_reward(outcome)
    except ValueError as error:
        return reject(Status.UNPARSEABLE, str(error))
    reported = outcome if isinstance(outcome, Mapping) else {"acc": outcome}
    return VerifierResult(0.0, False, values={str(name): _plain(value) for name, value in reported.items()})


def prepare(*, path: str, name: str, score_range: Sequence[float] | None = (0.0, 1.0), **options: Any) -> None:
    """Load the function, with all it imports, before the process is locked down.

    Raises:
        ValueError: The function is not found, is ``async`` or cannot be called like this; or the range is not one.
    """
    if score_range is None:
        usable_reward(0.0)  # imports what it needs
    else:
        _range(score_range)
    function = _function(path, name)
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"{name} of {path} is async, but a verifier has no network: use another reward manager for it")
    try:
        inspect.signature(function).bind(data_source="", solution_str="", ground_truth="", extra_info={}, **options)
    except TypeError as error:
        raise ValueError(
            f"{name} of {path} is called with data_source, solution_str, ground_truth, extra_info and "
            f"{options or 'no options'}: {error}"
        ) from None


def examples(
    ground_truth: Any, extra_info: Mapping[str, Any], *, path: str, **options: Any
) -> tuple[str | None, str | None] | None:
    """Return what ``examples(ground_truth, extra_info)`` of the function's module returns, or None if it has none.

    Only a module that has it is imported by the calling process.
    """
    return _module(path).examples(ground_truth, dict(extra_info)) if "def examples(" in _source(path) else None


def _plain(value: Any) -> float | str | None:
    try:
        return value if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _source(path: str) -> str:
    if path.startswith(_PACKAGE):
        spec = importlib.util.find_spec(path.removeprefix(_PACKAGE))
        path = str(spec and spec.origin)
    return file.read_text(encoding="utf-8") if (file := Path(path).expanduser()).is_file() else ""


def _range(score_range: Sequence[float]) -> tuple[float, float]:
    if len(score_range) != 2 or not float(score_range[0]) < float(score_range[1]):
        raise ValueError(f"score_range must be [low, high] with low < high, got {list(score_range)}")
    return float(score_range[0]), float(score_range[1])


@cache
def _function(path: str, name: str) -> Callable[..., Any]:
    module = _module(path)
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{path} has no function {name!r}{did_you_mean(name, list(vars(module)))}")
    return cast("Callable[..., Any]", function)


def _module(path: str) -> ModuleType:
    return importlib.import_module(path.removeprefix(_PACKAGE)) if path.startswith(_PACKAGE) else _load(path)


@cache
def _load(path: str) -> ModuleType:
    file = Path(path).expanduser()
    spec = importlib.util.spec_from_file_location(f"_verl_maxpo_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ValueError(f"path must be a Python file or {_PACKAGE}package.module, got {path!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
