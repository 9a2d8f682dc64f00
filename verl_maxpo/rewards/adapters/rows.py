"""What a verifier needs of a row of verl's ``DataProto``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from verl_maxpo.rewards.data_files import SOURCE_COLUMN


def valid_response(item: Any) -> Tensor:
    """Return the tokens of a row's response without its padding."""
    responses: Tensor = item.batch["responses"]
    length = responses.shape[-1]
    return responses[: int(item.batch["attention_mask"][-length:].sum())]


def columns_for_verifier(
    item: Any, response: str, source_key: str = SOURCE_COLUMN
) -> tuple[str, str, Any, Mapping[str, Any]]:
    """Return data source, response, ground truth and extra information of a row.

    The extra information has what verl's own managers add to it: what tools report, ``num_turns`` of the session and
    ``rollout_reward_scores``.
    """
    row = item.non_tensor_batch
    extra = {
        **(row.get("extra_info") or {}),
        **(row.get("tool_extra_fields") or {}),
        "num_turns": row.get("__num_turns__"),
        "rollout_reward_scores": row.get("reward_scores", {}),
    }
    return row[source_key], response, row["reward_model"]["ground_truth"], extra
