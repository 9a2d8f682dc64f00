"""Try each verifier once inside the lock-down, before anything depends on it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from verl_maxpo.rewards.config import KEY, did_you_mean
from verl_maxpo.rewards.data_files import Row
from verl_maxpo.rewards.isolation.pool import VerifierUnavailableError
from verl_maxpo.rewards.registry import find_verifier, load_verifier
from verl_maxpo.rewards.result import Status
from verl_maxpo.rewards.routing import SANDBOX_FUSION, Route
from verl_maxpo.rewards.scoring import WITHOUT_VERDICT, ResponseScorer, reason


async def probe(scorer: ResponseScorer, rows: Mapping[str, Row]) -> list[str]:
    """Check the options of every route that is used, and verify one row of each data source.

    Returns:
        What is no error but worth a warning: what a verifier tries and may not do, a time-out, and a response that a
        verifier without examples of right ones raises on.

    Raises:
        ValueError: A verifier cannot be loaded, does not take its options, or raises on the row.
    """
    router = scorer.config.router
    for route in [*router.configured, *router.in_child_processes(rows)]:
        check_options(route)
    found = await asyncio.gather(*(_probe(scorer, source, row) for source, row in rows.items()))
    return [warning for warnings in found for warning in warnings]


def check_options(route: Route) -> None:
    """Bind the options of a route to the signature of its verifier.

    Raises:
        ValueError: The verifier cannot be imported, or does not take them.
    """
    if route.verifier == SANDBOX_FUSION:
        return
    try:
        verify = load_verifier(route.verifier)
    except ImportError as error:
        raise ValueError(
            f"the verifier {route.verifier!r} cannot be imported: {error}. Is its extra there, as in "
            "pip install 'verl-maxpo[rewards]'?"
        ) from None
    signature = inspect.signature(verify)
    try:
        signature.bind("", "", {}, **route.options)
    except TypeError as error:
        known = [name for name, parameter in signature.parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
        near = "".join(did_you_mean(name, known) for name in route.options if name not in known)
        raise ValueError(
            f"{KEY}.routes: the verifier {route.verifier!r} does not take {dict(route.options)}: {error}{near}; "
            f"its options are {', '.join(known) or 'none'}"
        ) from None


async def _probe(scorer: ResponseScorer, source: str, row: Row) -> list[str]:
    route = scorer.config.router.find(source)
    where = f"{KEY}.routes: the verifier {route.verifier!r} of the data source {source!r}"
    where += f", with the options {dict(route.options)}," if route.options else ""
    try:
        right, wrong = examples(route, row.ground_truth, {**row.extra_info, "data_source": source})
    except Exception as error:
        raise ValueError(f"{where} cannot use {row.place}: {type(error).__name__}: {error}") from error
    warnings = []
    for response in (right, wrong):
        if response is None or route.verifier == SANDBOX_FUSION:
            continue
        try:
            result = await scorer.verify(source, response, row.ground_truth, row.extra_info)
        except VerifierUnavailableError as error:
            raise ValueError(f"{where} cannot be used: {error}") from None
        if result.status is Status.CRASH and has_examples(route.verifier):
            raise ValueError(f"{where} fails on {row.place}: {result.message}")
        if result.refused or result.status in WITHOUT_VERDICT:
            warnings.append(f"{where} on {row.place}, response {response!r}: {result.status.value}, {reason(result)}")
    return warnings


def examples(route: Route, ground_truth: Any, extra_info: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return a right and a wrong response to a row, each None where there is none to be had.

    Raises:
        Exception: What the verifier's own ``examples`` raises of an unusable row.
    """
    if route.verifier == SANDBOX_FUSION:
        return None, None
    make = _examples_function(route.verifier)
    if make is None:
        return None, ""
    right, wrong = make(ground_truth, extra_info, **route.options)
    return right, wrong


def has_examples(verifier: str) -> bool:
    """Return whether a verifier's module can make responses to a row."""
    return _examples_function(verifier) is not None


@cache
def _examples_function(verifier: str) -> Any:
    return getattr(importlib.import_module(find_verifier(verifier).module), "examples", None)
