"""Registers the reward manager ``verifier`` with verl, and stops a run that gets no verdicts."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import replaces
from verl_maxpo.rewards.verdicts import COLUMNS, FirstVerdicts

logger = logging.getLogger(__name__)

MANAGER_NAME = "verifier"


@cache
def register() -> None:
    """Register the reward manager when verl has imported its registry, and watch the first verdicts of a run, once."""
    wrapt.register_post_import_hook(register_manager, "verl.experimental.reward_loop.reward_manager")
    wrapt.register_post_import_hook(watch_first_verdicts, "verl.trainer.ppo.v1.trainer_base")


def register_manager(registry: ModuleType) -> None:
    """Register ``verifier``; where that fails, verl goes on with its other reward managers.

    Without the extra ``rewards`` there is none, in silence: a run that asks for it is told so at its start.
    """
    try:
        importlib.import_module("verl_maxpo.rewards.adapters.reward_loop")
    except Exception as error:
        of_an_extra = isinstance(error, ModuleNotFoundError) and not str(error.name).startswith(("verl", "torch"))
        level = logging.DEBUG if of_an_extra else logging.WARNING
        logger.log(level, "reward.reward_manager.name=%s is not available: %r", MANAGER_NAME, error)


def watch_first_verdicts(module: ModuleType) -> None:
    """Let verl's V1 trainer stop if the first responses of a run, in validation or training, all have no verdict.

    An error in a reward worker would not do: it costs the session, which verl logs and leaves out.
    """
    first = FirstVerdicts()

    def val_metrics_update(call: Callable[[], Any], trainer: Any, arguments: dict[str, Any]) -> Any:
        if not first.done:
            columns = arguments["reward_extra_infos_dict"]
            names = [name for name in COLUMNS if name in columns]
            _look(first, (dict(zip(names, row, strict=True)) for row in zip(*map(columns.get, names), strict=True)))
        return call()

    def compute_advantage(call: Callable[[], Any], trainer: Any, arguments: dict[str, Any]) -> Any:
        if not first.done and trainer.config.reward.reward_manager.name == MANAGER_NAME:
            _look(first, _reported(arguments["batch"]))
        return call()

    infos = ["self", "data_sources", "sample_uids", "reward_extra_infos_dict", "sample_turns", "expected_acc_counts"]
    try:
        replaces(module, "PPOTrainer._val_metrics_update", infos)(val_metrics_update)
        replaces(module, "PPOTrainer._compute_advantage", ["self", "batch", "metrics"])(compute_advantage)
    except RuntimeError as error:
        logger.warning("%s. Until then a run goes on without any verdict on its responses", error)


def _look(first: FirstVerdicts, reported: Iterable[Mapping[str, Any]]) -> None:
    for row in reported:
        if row.get("unscored") is not None:  # padding and failed sessions have none
            first.see(row)


def _reported(batch: Any) -> Iterable[Mapping[str, Any]]:
    import transfer_queue

    fields = ["extra_fields"]
    data = transfer_queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    # A list of them or a stack of tensordict's, by the backend of the queue
    rows = (getattr(row, "data", row) for row in list(data["extra_fields"]))
    return (row.get("reward_extra_info") or {} for row in rows if isinstance(row, Mapping))
