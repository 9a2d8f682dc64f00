"""Registers the reward manager ``verifier`` with verl, and stops a run that gets no verdicts."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import expect_parameters
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
    try:
        expect_parameters(module, "PPOTrainer._compute_advantage", ["self", "batch", "metrics"])
        metrics = ["self", "data_sources", "sample_uids", "reward_extra_infos_dict", "sample_turns"]
        expect_parameters(module, "PPOTrainer._val_metrics_update", [*metrics, "expected_acc_counts"])
    except RuntimeError as error:
        logger.warning("%s. Until then a run goes on without any verdict on its responses", error)
        return
    first = FirstVerdicts()

    @wrapt.patch_function_wrapper(module, "PPOTrainer._val_metrics_update")
    def val_metrics_update(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        if not first.done:
            columns = inspect.signature(wrapped).bind(*args, **kwargs).arguments["reward_extra_infos_dict"]
            names = [name for name in COLUMNS if name in columns]
            _look(first, (dict(zip(names, row, strict=True)) for row in zip(*map(columns.get, names), strict=True)))
        return wrapped(*args, **kwargs)

    @wrapt.patch_function_wrapper(module, "PPOTrainer._compute_advantage")
    def compute_advantage(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        if not first.done and _is_used(instance.config):
            _look(first, _reported(inspect.signature(wrapped).bind(*args, **kwargs).arguments["batch"]))
        return wrapped(*args, **kwargs)


def _is_used(config: Any) -> bool:
    name: str = config.reward.reward_manager.name
    return name == MANAGER_NAME


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
