"""What a reward manager or reward function reports of a response beside its reward: verl's ``reward_extra_info``.

Two options read it before advantages are computed:

- ``reward.reward_kwargs.unscored=drop`` leaves out the responses without a verdict, whose ``status`` says so. Their
  masks are emptied, as in verl's own rejection sampling, so they get no gradient and do not count.
- ``algorithm.maxpo.select_by`` names what one of k responses is chosen by: a column with the score of a judge, or
  ``vote`` for the most frequent ``answer``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch import Tensor

from verl_maxpo.best_of_k.groups import Rule, answer_labels, score_keys
from verl_maxpo.messages import did_you_mean

STATUS = "status"

#: The statuses of a response without a verdict.
UNSCORED = ("timeout", "crash")

#: The columns with answers to vote by; the first one present is read.
ANSWERS = ("answer", "pred")

Info = Mapping[str, Any]


def reward_infos(fields: Iterable[Any]) -> list[Info]:
    """Return the ``reward_extra_info`` of rows, empty where there is none, from TransferQueue's ``extra_fields``."""
    plain = [getattr(field, "data", field) for field in fields]  # dictionaries, or tensordict's, by the backend
    return [(field.get("reward_extra_info") or {}) if isinstance(field, Mapping) else {} for field in plain]


def is_unscored(info: Info) -> bool:
    """Tell whether a response has no verdict."""
    return info.get(STATUS) in UNSCORED


def drops_unscored(config: Any) -> bool:
    """Tell whether verl's configuration leaves out responses without a verdict."""
    chosen: object = OmegaConf.select(config, "reward.reward_kwargs.unscored")
    return chosen == "drop"


def drop_unscored(queue: Any, batch: Any, infos: Sequence[Info], is_padding: Sequence[bool]) -> float:
    """Empty the masks of the rows without a verdict, and return their fraction of the responses (agent sessions).

    Args:
        queue: verl's TransferQueue.
        batch: verl's ``KVBatchMeta`` of the step.
        infos: What the rewards report of each row.
        is_padding: Whether verl added the row to fill the batch up.

    Raises:
        ValueError: The reward manager does not say which responses are unscored, or all are.
    """
    real = [(key, info) for key, info, padding in zip(batch.keys, infos, is_padding, strict=True) if not padding]
    for key, info in real:
        _check_status(key, info)
    unscored = [key for key, info in real if is_unscored(info)]
    share = len(_sessions(unscored)) / max(len(_sessions(key for key, _ in real)), 1)
    if share == 1:
        raise ValueError(
            f"none of the {len(real)} responses of this step has a verdict: the columns status and reason of the "
            "reward manager and its warnings in the log say why"
        )
    if unscored:
        masks = queue.kv_batch_get(keys=unscored, partition_id=batch.partition_id, select_fields=["response_mask"])
        rows = [torch.zeros_like(mask) for mask in masks["response_mask"].unbind()]
        emptied = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        # Both, as in verl's padding rows: the actor reads one and counts the tokens of the batch in the other.
        put = TensorDict({"response_mask": emptied, "loss_mask": emptied}, batch_size=len(unscored))
        queue.kv_batch_put(keys=unscored, partition_id=batch.partition_id, fields=put)
    return share


def rule_of(select_by: str) -> Rule:
    """Return the rule that ``algorithm.maxpo.select_by`` means."""
    return "reward" if select_by == "reward" else "vote" if select_by == "vote" else "score"


def chosen_by(infos: Iterable[Info], is_padding: Iterable[bool], select_by: str) -> list[Any]:
    """Return the score or the answer of each response, None where it is padding, unscored or has none.

    Raises:
        ValueError: The rewards do not report what ``select_by`` asks for.
    """
    return [
        None if padding or is_unscored(info) else _chosen_by(info, select_by)
        for info, padding in zip(infos, is_padding, strict=True)
    ]


def keys_of(values: Sequence[Any], rule: Rule, counts: Tensor) -> Tensor:
    """Return the keys by which groups are ranked, from :func:`chosen_by`, ``[bs]``.

    A response without an answer does not vote. One without a score is kept only where no other is: it gets the lowest.

    Args:
        values: Of each response.
        rule: ``score`` or ``vote``.
        counts: Which responses count, ``[bs]``; the others are ignored.
    """
    if rule == "vote":
        return answer_labels(list(values), counts.shape, counts.device)
    scores = [math.nan if value is None else float(value) for value in values]
    return score_keys(torch.tensor(scores, dtype=torch.float64).to(counts.device).where(counts, torch.nan))


def _chosen_by(info: Info, select_by: str) -> Any:
    columns = ANSWERS if select_by == "vote" else (select_by,)
    column = next((name for name in columns if name in info), None)
    if column is None:
        raise ValueError(
            f"algorithm.maxpo.select_by={select_by} needs {columns[0]} in the reward_extra_info of every response, got "
            f"{', '.join(info) or 'none'}{did_you_mean(select_by, list(info))}: return "
            f'{{"score": ..., "{columns[0]}": ...}} from the reward function, give the route of a verifier a judge, or '
            "name one of these"
        )
    value = info[column]
    if select_by == "vote":
        return None if value == "" else value
    if value is not None and not _is_finite(value):
        raise ValueError(
            f"algorithm.maxpo.select_by={select_by} needs a finite number in the reward_extra_info, got {value!r}: fix "
            "the judge that returned it, or have it return null for responses that it cannot score"
        )
    return value


def _is_finite(value: Any) -> bool:
    try:
        return not isinstance(value, str) and math.isfinite(value)
    except (TypeError, ValueError):
        return False


def _check_status(key: str, info: Info) -> None:
    if not isinstance(info.get(STATUS), str):
        raise ValueError(
            f"reward.reward_kwargs.unscored=drop needs {STATUS}, a text, in the reward_extra_info of every response, "
            f"got {info!r} for {key}: use reward.reward_manager.name=verifier, or reward.reward_kwargs.unscored=zero"
        )


def _sessions(keys: Iterable[str]) -> set[str]:
    return {key.rpartition("_")[0] for key in keys}
