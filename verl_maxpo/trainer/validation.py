"""Unbiased pass@k, max@k and maj@k of verl's validation, for every estimator; ``docs/metrics.md`` says what they mean.

:mod:`.hooks` wraps ``process_validation_metrics`` where verl's trainers name it. ``VERL_MAXPO_VALIDATION_METRICS=0`` in
the environment switches them off. Nothing here imports verl.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

from verl_maxpo.best_of_k.arguments import checked_rewards
from verl_maxpo.best_of_k.estimates import estimates
from verl_maxpo.best_of_k.groups import Rule, group_labels, ranked_groups
from verl_maxpo.trainer.metrics import NAMES
from verl_maxpo.trainer.reward_info import ANSWERS, keys_of, rule_of

#: The environment variable that switches the metrics off.
SWITCH = "VERL_MAXPO_VALIDATION_METRICS"

#: ``algorithm.maxpo.select_by`` while verl's V1 trainer computes the metrics of a validation.
current_select_by: ContextVar[str] = ContextVar("verl_maxpo_select_by", default="reward")

#: verl's nested metrics: data source, variable, name.
Metrics = dict[str, dict[str, dict[str, float]]]


def switched_on() -> bool:
    """Read the switch; ValueError if it is neither 0 nor 1."""
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, got {value!r}")
    return value == "1"


def validation_metrics(
    data_sources: Sequence[str],
    sample_uids: Sequence[str],
    infos_dict: Mapping[str, Sequence[Any]],
    expected_acc_counts: Mapping[tuple[str, str], int] | None = None,
    select_by: str = "reward",
) -> Metrics:
    """Estimate pass@k, max@k and so on of a validation, as verl's ``process_validation_metrics`` returns its metrics.

    Args:
        data_sources: Of each sample.
        sample_uids: The prompt of each sample.
        infos_dict: What the rewards say of each sample, None where they say nothing; ``acc``, ``reward``, ``answer``
            (or ``pred``) and ``select_by`` are used.
        expected_acc_counts: How many samples each prompt, ``(data_source, uid)``, should have: missing ones are wrong.
        select_by: ``algorithm.maxpo.select_by``.

    Raises:
        ValueError: A reward is NaN or infinite.
    """
    of_source: dict[str, list[int]] = {}
    for row, source in enumerate(data_sources):
        of_source.setdefault(str(source), []).append(row)
    metrics: Metrics = {}
    for source, rows in of_source.items():
        uids = [str(sample_uids[row]) for row in rows]
        expected = {uid: n for (name, uid), n in (expected_acc_counts or {}).items() if name == source}
        columns = {name: [values[row] for row in rows] for name, values in infos_dict.items() if len(values)}
        found = {"acc": _of_acc(uids, columns, expected), "reward": _of_reward(uids, columns, select_by)}
        metrics[source] = {name: values for name, values in found.items() if values}
    return metrics


def _of_acc(uids: list[str], columns: Mapping[str, list[Any]], expected: Mapping[str, int]) -> dict[str, float]:
    """Estimate pass@k and maj@k; empty where there is no verdict, or another than 0 and 1."""
    acc, votes = columns.get("acc", []), _votes(columns)
    known = [row for row, value in enumerate(acc) if value is not None]
    if not known or any(acc[row] not in (0, 1) for row in known):
        return {}
    observed = Counter(uids[row] for row in known)
    missing = [uid for uid, n in expected.items() for _ in range(n - observed[uid])]
    prompts = [uids[row] for row in known] + missing
    values = [float(acc[row]) for row in known] + [0.0] * len(missing)
    found = _at_k("pass", prompts, values)
    if votes is not None:
        found |= _at_k("maj", prompts, values, [votes[row] for row in known] + [None] * len(missing), "vote")
    return found


def _of_reward(uids: list[str], columns: Mapping[str, list[Any]], select_by: str) -> dict[str, float]:
    """Estimate max@k, and what the rule of ``select_by`` keeps."""
    rewards, rule = columns.get("reward", []), rule_of(select_by)
    known = [row for row, value in enumerate(rewards) if value is not None]
    if not known:
        return {}
    prompts, values = [uids[row] for row in known], [rewards[row] for row in known]
    found = _at_k("max", prompts, values)
    chosen = _votes(columns) if rule == "vote" else columns.get(select_by)
    if rule != "reward" and chosen is not None:
        found |= _at_k(NAMES[rule], prompts, values, [chosen[row] for row in known], rule)
    return found


def _votes(columns: Mapping[str, list[Any]]) -> list[Any] | None:
    answers = next((columns[name] for name in ANSWERS if name in columns), None)
    return answers and [None if answer == "" else answer for answer in answers]


def _at_k(
    name: str, prompts: list[str], values: list[float], chosen: list[Any] | None = None, rule: Rule = "reward"
) -> dict[str, float]:
    labels = group_labels(prompts, torch.device("cpu"))
    rewards = checked_rewards(values).double()
    keys = None if chosen is None else keys_of(chosen, rule, torch.ones_like(labels, dtype=torch.bool))
    largest = int(labels.bincount().max())
    ks = [2**exponent for exponent in range((largest - 1).bit_length())] + [largest]
    found = estimates(ranked_groups(rewards, labels, keys, rule), ks)
    return {f"{name}@{k}": value.nanmean().item() for k, value in found.items()}


def bootstrapped(
    data: Sequence[Any], subset_size: int, reduce_fns: Sequence[Callable[..., Any]], n_bootstrap: int, seed: int
) -> list[tuple[float, float]] | None:
    """Return what verl's ``bootstrap_metric`` returns for the best and the worst of subsets, from the same draws.

    verl calls ``np.max`` and ``np.min`` once for each of 1,000 subsets; here each is called once.

    Returns:
        Mean and standard deviation for each function, bit for bit verl's; None for other functions, and where a value
        is no finite number.
    """
    try:
        values = np.array(data, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    extremes = all(reduce in (np.max, np.min) for reduce in reduce_fns)
    if not extremes or values.ndim != 1 or not np.isfinite(values).all():
        return None
    np.random.seed(seed)  # noqa: NPY002 - the generator that verl draws from
    drawn = values[np.random.choice(len(values), size=(n_bootstrap, subset_size), replace=True)]  # noqa: NPY002
    found = [reduce(drawn, axis=1) for reduce in reduce_fns]
    return [(float(np.mean(one)), float(np.std(one))) for one in found]
