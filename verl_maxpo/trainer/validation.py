"""Unbiased pass@k and max@k of verl's validation, for every estimator; ``docs/metrics.md`` says what they mean.

:mod:`.hooks` wraps ``process_validation_metrics`` where verl's trainers name it. ``VERL_MAXPO_VALIDATION_METRICS=0`` in
the environment switches both off. Nothing here imports verl.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verl_maxpo.best_of_k.groups import group_labels, rows_by_size
from verl_maxpo.best_of_k.max_at_k import max_at_k
from verl_maxpo.best_of_k.pass_at_k import pass_at_k

#: The environment variable that switches the metrics off.
SWITCH = "VERL_MAXPO_VALIDATION_METRICS"

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
) -> Metrics:
    """Estimate pass@k and max@k of a validation, as verl's ``process_validation_metrics`` returns its own metrics.

    Args:
        data_sources: Of each sample.
        sample_uids: The prompt of each sample.
        infos_dict: What the reward manager said about each sample, None where it said nothing; ``acc`` and ``reward``
            are used.
        expected_acc_counts: How many samples each prompt, ``(data_source, uid)``, should have: missing ones are wrong.

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
        acc = _pass_at_k(uids, _values(infos_dict, "acc", rows), expected)
        reward = _max_at_k(uids, _values(infos_dict, "reward", rows))
        metrics[source] = {name: values for name, values in (("acc", acc), ("reward", reward)) if values}
    return metrics


def _values(infos: Mapping[str, Sequence[Any]], name: str, rows: list[int]) -> list[Any]:
    values = infos.get(name)
    return [values[row] for row in rows] if values is not None and len(values) else [None] * len(rows)


def _pass_at_k(uids: list[str], acc: list[Any], expected: Mapping[str, int]) -> dict[str, float]:
    known = [(uid, value) for uid, value in zip(uids, acc, strict=True) if value is not None]
    if not known or any(value not in (0, 1) for _, value in known):
        return {}
    observed = Counter(uid for uid, _ in known)
    successes = Counter(uid for uid, value in known if value)
    prompts = list(dict.fromkeys([*expected, *observed]))
    n = np.array([max(expected.get(uid, 0), observed[uid]) for uid in prompts])
    c = np.array([successes[uid] for uid in prompts])
    return {f"pass@{k}": float(pass_at_k(n[n >= k], c[n >= k], k).mean()) for k in _ks(n)}


def _max_at_k(uids: list[str], rewards: list[Any]) -> dict[str, float]:
    known = [(uid, value) for uid, value in zip(uids, rewards, strict=True) if value is not None]
    if not known:
        return {}
    labels = group_labels([uid for uid, _ in known], torch.device("cpu"))
    values = torch.tensor([value for _, value in known], dtype=torch.float64)
    sizes = labels.bincount()
    groups = [values[rows] for rows in rows_by_size(labels, sizes)]
    return {
        f"max@{k}": torch.cat([max_at_k(dense, k) for dense in groups if dense.shape[1] >= k]).mean().item()
        for k in _ks(sizes.numpy())
    }


def _ks(sizes: NDArray[np.int64]) -> list[int]:
    """Return 1, 2, 4, ... below the largest size, and that."""
    largest = int(sizes.max())
    return [2**exponent for exponent in range((largest - 1).bit_length())] + [largest]
