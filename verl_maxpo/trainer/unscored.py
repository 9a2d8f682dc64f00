"""Responses without a verdict, left out of their group: ``reward.reward_kwargs.unscored=drop``.

The reward manager marks them in the column ``status`` of ``reward_extra_info``, a text on every sample. Before the
trainer computes advantages, the masks of their rows are emptied, as verl's own rejection sampling does it: they get no
gradient, and the estimator does not count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch import Tensor

COLUMN = "status"

#: The statuses of a response without a verdict.
UNSCORED = ("timeout", "crash")


def drops_unscored(config: Any) -> bool:
    """Tell whether verl's configuration asks for it."""
    chosen: object = OmegaConf.select(config, "reward.reward_kwargs.unscored")
    return chosen == "drop"


def drop_unscored(queue: Any, batch: Any, is_padding: Sequence[bool]) -> float:
    """Empty the masks of the rows without a verdict, and return their fraction of the responses (agent sessions).

    Args:
        queue: verl's TransferQueue.
        batch: verl's ``KVBatchMeta`` of the step.
        is_padding: Whether verl added the row to fill the batch up.

    Raises:
        ValueError: The reward manager does not say which responses are unscored, or all are.
    """
    fields = ["extra_fields", "response_mask"]
    data = queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    extra_fields = data["extra_fields"]  # a list, or one of tensordict's, by the backend of the queue
    extra_fields = extra_fields.tolist() if hasattr(extra_fields, "tolist") else list(extra_fields)
    rows = zip(batch.keys, extra_fields, data["response_mask"].unbind(), is_padding, strict=True)
    real = [(key, _is_unscored(key, extra), mask) for key, extra, mask, padding in rows if not padding]
    masks = {key: torch.zeros_like(mask) for key, unscored, mask in real if unscored}
    share = len(_sessions(masks)) / max(len(_sessions(key for key, _, _ in real)), 1)
    if share == 1:
        raise ValueError(
            f"none of the {len(real)} responses of this step has a verdict: the columns status and reason of the "
            "reward manager and its warnings in the log say why"
        )
    if masks:
        emptied = _nested(list(masks.values()))
        # Both, as in verl's padding rows: the actor reads one and counts the tokens of the batch in the other.
        put = TensorDict({"response_mask": emptied, "loss_mask": emptied}, batch_size=len(masks))
        queue.kv_batch_put(keys=list(masks), partition_id=batch.partition_id, fields=put)
    return share


def _is_unscored(key: str, extra_fields: Any) -> bool:
    info = extra_fields.get("reward_extra_info") if isinstance(extra_fields, dict) else None
    if not isinstance(info, dict) or not isinstance(info.get(COLUMN), str):
        raise ValueError(
            f"reward.reward_kwargs.unscored=drop needs {COLUMN}, a text, in the reward_extra_info of every response, "
            f"got {info!r} for {key}: use reward.reward_manager.name=verifier, or reward.reward_kwargs.unscored=zero"
        )
    return info[COLUMN] in UNSCORED


def _sessions(keys: Any) -> set[str]:
    return {key.rpartition("_")[0] for key in keys}


def _nested(rows: list[Tensor]) -> Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)
