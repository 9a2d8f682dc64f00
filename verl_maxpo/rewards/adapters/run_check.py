"""What is checked of the rewards before a run starts: manager, options, data sources, and each reward by trying it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf, open_dict

from verl_maxpo.messages import did_you_mean
from verl_maxpo.rewards.adapters import MANAGER_NAME
from verl_maxpo.rewards.adapters.run_config import columns_of, scorer_for_run
from verl_maxpo.rewards.check import judge_sources, try_row
from verl_maxpo.rewards.config import OPTIONS_KEY, Columns, PoolLimits
from verl_maxpo.rewards.data_files import Row, first_rows
from verl_maxpo.rewards.isolation.pool import Task, VerifierPool, VerifierUnavailableError
from verl_maxpo.rewards.report import Report
from verl_maxpo.rewards.result import Status
from verl_maxpo.rewards.routing import Route
from verl_maxpo.rewards.scoring import ResponseScorer

logger = logging.getLogger(__name__)

#: What rewards say of responses that were tried, as in verl's ``reward_extra_info``, by data source.
Reported = dict[str, list[Mapping[str, Any]]]


def check_rewards(config: Any) -> Reported:
    """Check what would fail, or train on nothing, after the first rollout.

    ``reward.reward_kwargs.data_sources`` is set in verl's ``config`` where the data files can be read from here, so
    that reward workers import the verifiers of those only.

    Returns:
        What the rewards of the training data reported; without a data source where nothing could be tried.

    Raises:
        ValueError: There is no such reward manager, one of its options is unusable, no verifier claims a data source,
            or one cannot score the first row of its data source.
    """
    manager = config.reward.reward_manager
    if manager.get("source", "register") != "register":
        return {}
    check_manager(manager.name)
    if manager.name == MANAGER_NAME:
        return check_verifiers(config)
    if (config.reward.get("custom_reward_function") or {}).get("path"):
        return check_function(config)
    # Without a function a reward model gives the reward and nothing else; what verl's own functions return differs.
    return {"all": [{}]} if (config.reward.get("reward_model") or {}).get("enable") else {}


def check_manager(name: str) -> None:
    """Check that verl knows a reward manager.

    Raises:
        ValueError: It does not; the message has the nearest name.
    """
    from verl.experimental.reward_loop.reward_manager.registry import REWARD_MANAGER

    known = sorted(REWARD_MANAGER)
    if name not in known:
        raise ValueError(
            f"reward.reward_manager.name={name} is not a reward manager of verl{did_you_mean(name, known)}: "
            f"there are {', '.join(known)}"
        )


def check_verifiers(config: Any) -> Reported:
    """Check options and data of the reward manager ``verifier``; see :func:`check_rewards`."""
    columns = columns_of(config)
    rows, trained = _first_rows(config)
    with open_dict(config.reward):
        given = config.reward.get("reward_kwargs") or {}
        config.reward.reward_kwargs = {**given, "data_sources": None if rows is None else sorted(rows)}
    scorer = scorer_for_run(config)
    try:
        scorer.check_options()
        tried = {
            source: asyncio.run(_try_source(scorer, source, found, columns)) for source, found in (rows or {}).items()
        }
    finally:
        scorer.close()
    return {source: reported for source, reported in tried.items() if source in trained and reported}


def check_function(config: Any) -> Reported:
    """Check that verl's own reward managers can use what a ``custom_reward_function`` returns.

    It is tried on a row in a locked-down process, where one that needs a network or a GPU fails: that says nothing.

    Raises:
        ValueError: There is no such function, or it returns something else than verl takes.
    """
    custom = config.reward.custom_reward_function
    where = f"reward.custom_reward_function: {custom.name} of {custom.path}"
    route = Route("python_function", {"score_range": None, **_plain(custom)})
    pool = VerifierPool([route], PoolLimits(workers=1))
    try:
        source, [(place, values), *_] = next(iter((_first_rows(config)[0] or {}).items()))
        row = Row.of(values, columns_of(config))
        result = asyncio.run(pool.verify(Task(route, str(row.ground_truth), row.ground_truth, row.extra_info)))
    except VerifierUnavailableError as error:
        if "has no function" in str(error):
            raise ValueError(f"{where}: {error}") from None
        return {}
    except (ValueError, StopIteration):
        return {}  # files that only its own manager can read
    else:
        if result.status is Status.UNPARSEABLE:
            raise ValueError(f"{where}, on {place}: {result.message}")
        return {source: [result.values]} if result.status is Status.OK else {}
    finally:
        pool.close()


async def _try_source(
    scorer: ResponseScorer, source: str, rows: list[tuple[str, dict[str, Any]]], columns: Columns
) -> list[Mapping[str, Any]]:
    """Try a verifier on the first row of its source, warn of what a run can go on with, and return what it reported."""
    (place, row), (_, other), report = rows[0], rows[-1], Report()
    route = scorer.config.router.find(source)
    where = f"{OPTIONS_KEY}.routes: the verifier {route.verifier!r} of the data source {source!r}"
    where += f", with the options {dict(route.options)}, on {place}" if route.options else f", on {place}"
    try:
        await try_row(scorer, report, 0, row, other, columns)
    except VerifierUnavailableError as error:
        raise ValueError(f"{where}: {error}") from None
    judge_sources(report)
    if any(problem.stops for problem in report.problems):
        raise ValueError(f"{where}: {'; '.join(problem.text for problem in report.problems)}")
    for text in [*(problem.text for problem in report.problems), *report.warnings]:
        logger.warning("%s: %s. `verl-maxpo check` tries every row", where, text)
    return [{**tally.last.columns, **tally.last.values} for tally in report.tallies[source].values() if tally.last]


def _first_rows(config: Any) -> tuple[dict[str, Any] | None, set[str]]:
    """Return the first rows of every data source (None if a file cannot be read here), and the sources of training."""
    trained, validated = (first_rows(_files(config, key), columns_of(config)) for key in ("train_files", "val_files"))
    if trained is None or validated is None:
        return None, set()
    return trained | validated | trained, set(trained)  # those of training first, and by their own rows


def _plain(custom: Any) -> dict[str, Any]:
    given: Any = OmegaConf.to_container(custom, resolve=True) if OmegaConf.is_config(custom) else dict(custom)
    return {**(given.pop("reward_kwargs", None) or {}), **given}


def _files(config: Any, key: str) -> list[str]:
    node = config.data.get(key)
    plain: Any = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    return [plain] if isinstance(plain, str) else list(plain or [])
