"""Dynamic sampling that knows K: groups that teach nothing for the chosen objective are dropped and replaced.

verl's own filter (``algorithm.filter_groups``, DAPO's) drops groups whose rewards are all equal. For max@k many more
teach nothing: with 0/1 rewards all groups with more than n - k successes. :func:`dynamic_sampler` makes verl's replay
buffer of the trainer's mode with that one decision replaced; how it generates, waits, refills and drops what is too
old is verl's. See ``docs/dynamic_sampling.md``. The only module of this package that imports verl's trainer.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
import transfer_queue as tq
from torch import Tensor
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from verl_maxpo.best_of_k.kinds import kinds_of_groups
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.guards import changed, expect_parameters
from verl_maxpo.trainer import ESTIMATOR_NAME
from verl_maxpo.trainer.config import MaxPOConfig
from verl_maxpo.trainer.step import sessions_of
from verl_maxpo.trainer.unscored import COLUMN, UNSCORED, drops_unscored

#: The metric of ``algorithm.filter_groups`` that stands for the reward itself; others are in ``reward_extra_info``.
REWARD = "reward"

#: The methods of verl's replay buffer that are overridden, and their parameters.
OVERRIDDEN = {
    "sample": ["self", "global_steps", "partition_id", "batch_size"],
    "_terminal_eviction_reasons": ["self", "global_steps", "partition_id"],
    "_dapo_filtered_keys": ["self", "partition_id"],
    "_evict_terminal_groups": ["self", "global_steps", "partition_id", "eviction_reasons"],
    "_clear_groups": ["self", "partition_id", "uids"],
}

ADVICE = {
    "all_fail": "no response of most groups succeeds, so that the data are too hard for this model: take easier "
    "problems or raise actor_rollout_ref.rollout.n",
    "all_equal": "all responses of most groups succeed, so that the data are too easy for this model: take harder "
    "problems",
    "too_many_successes": "most groups are solved too often for this k: lower algorithm.maxpo.k, raise "
    "actor_rollout_ref.rollout.n or take harder problems",
    "undersized": "most groups have lost responses: look for the errors of the rollout in the log",
    "failed": "most groups have lost responses: look for the errors of the rollout in the log",
}


def dynamic_sampler(trainer_mode: str, refill_fn: Callable[[int], Any], **options: Any) -> ReplayBuffer:
    """Make the replay buffer of a run, for ``trainer.v1.sampler.custom_sampler.{path,name}``.

    Args:
        trainer_mode: ``sync``, ``colocate_async`` or ``separate_async``.
        refill_fn: The trainer's method that generates for more prompts; the configuration is read from its trainer,
            which verl hands to no sampler.
        **options: What else verl passes to samplers.

    Returns:
        Without ``algorithm.filter_groups.enable`` what verl itself would use; with it, a buffer that drops the groups
        without signal for the objective of the step.

    Raises:
        ValueError: ``algorithm.filter_groups`` or ``algorithm.maxpo`` is unusable.
        RuntimeError: verl has changed.
    """
    config = getattr(getattr(refill_fn, "__self__", None), "config", None)
    module = sys.modules[ReplayBuffer.__module__]
    if config is None:
        raise changed(module, "ReplayBuffer", "given the trainer's own method as refill_fn", repr(refill_fn))
    is_sync = trainer_mode == "sync"
    filters = bool((config.algorithm.get("filter_groups") or {}).get("enable", False))
    options = {**options, **_verls_own(config, filters), "trainer_mode": trainer_mode, "refill_fn": refill_fn}
    if not filters:
        return (ReplayBuffer if is_sync else ReplayBufferAsync)(**options)
    _check_filter(config)
    for name, parameters in OVERRIDDEN.items():
        expect_parameters(module, f"ReplayBuffer.{name}", parameters)
    return (SignalReplayBuffer if is_sync else SignalReplayBufferAsync)(config=config, **options)


def _verls_own(config: Any, filters: bool) -> dict[str, Any]:
    """Return what verl passes to its own buffers only (``PPOTrainer._build_replay_buffer``)."""
    batch = config.data.train_batch_size
    refills_failed = bool(config.trainer.v1.sampler.get("sync_refill_failed_groups", False))
    exact = filters or refills_failed
    return {
        "filter_groups_metric": config.algorithm.filter_groups.metric if filters else None,
        "sync_refill_failed_groups": refills_failed,
        "train_batch_size": batch,
        "gen_batch_size": 1 if exact else config.data.get("gen_batch_size") or batch,
        "max_inflight_gen_batches": config.algorithm.filter_groups.get("max_inflight_gen_batches", 1) if filters else 1,
    }


def _check_filter(config: Any) -> None:
    key, options = "algorithm.filter_groups", config.algorithm.filter_groups
    if not options.get("metric"):
        raise ValueError(f"{key}.metric must be reward or a name in reward_extra_info, got {options.get('metric')!r}")
    limit = options.get("max_num_gen_batches", 0)
    if type(limit) is not int or limit < 1:
        raise ValueError(
            f"{key}.max_num_gen_batches must be at least 1, got {limit!r}: a step may generate so many batches in "
            "search of groups that teach anything, and without a limit would do so for ever on data that no longer "
            "do. 10 is usual"
        )
    reward_model = config.reward.reward_model
    if reward_model.enable and not reward_model.enable_resource_pool:
        raise ValueError(
            f"{key}.enable=true needs the rewards before a batch is chosen, and a colocated reward model gives them "
            "after: set reward.reward_model.enable_resource_pool=true"
        )


class _DropsGroupsWithoutSignal(ReplayBuffer):
    """Decide by the objective of the step which groups are dropped, count them and stop where there is no end to it."""

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(**options)
        self._options = _maxpo_options(config)
        self._drops_unscored = drops_unscored(config)
        self._limit = config.algorithm.filter_groups.max_num_gen_batches
        self._ranked: dict[str, Tensor] = {}  # ascending rewards of each group in the buffer
        self._kinds: dict[str, str] = {}  # of the groups to drop
        self._step: int | None = None
        self._wanted = 0
        self._selected = 0
        self._dropped_in_step: Counter[str] = Counter()
        self._unreported: Counter[str] = Counter()

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """Return the next batch, and what was dropped on the way to it."""
        if partition_id == "val":
            return super().sample(global_steps, partition_id, batch_size)  # type: ignore[no-any-return]
        self._begin(global_steps)
        self._wanted = batch_size
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        self._selected += batch_size
        kinds = {name: self._unreported[name] for name in (*ADVICE, "tokens")}
        self._unreported.clear()
        # "total", so that verl adds them up over the iterations of a step.
        return batch, {**metrics, **{f"best_of_k/dropped_total/{name}": count for name, count in kinds.items()}}

    def _begin(self, step: int) -> None:
        if step != self._step:
            self._step, self._selected = step, 0
            self._dropped_in_step.clear()

    def _terminal_eviction_reasons(self, global_steps: int, partition_id: str) -> Any:
        if partition_id != "val":
            self._begin(global_steps)
        return super()._terminal_eviction_reasons(global_steps, partition_id)

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter[float]]:
        """Return the groups without signal, and how many of them have which best reward, as verl logs it."""
        if partition_id == "val":
            return set(), Counter()
        # Failed groups too: what is left of them may teach, or not.
        there = self.finished_keys[partition_id] | self.failure_keys[partition_id]
        known = {uid: ranked for uid, ranked in self._ranked.items() if uid in there}
        self._ranked = known | self._read(partition_id, there - known.keys())
        kinds = _kinds(self._ranked, self._objective())
        self._kinds = {uid: kind for uid, kind in kinds.items() if kind != "signal"}
        best = [float(self._ranked[uid][-1]) for uid in self._kinds if len(self._ranked[uid])]
        return set(self._kinds), Counter(best)

    def _objective(self) -> Objective:
        return self._options.objective_at(self._step) if self._options else Objective.of(1)

    def _read(self, partition_id: str, uids: set[str]) -> dict[str, Tensor]:
        """Read the rewards of groups, ascending; a session of several rows counts once, one without tokens never."""
        tags = self.partitions[partition_id]
        keys = [key for key in tags if key.split("_")[0] in uids and tags[key].get("response_len") != 0]
        sessions = sessions_of(keys, torch.device("cpu"))
        keys = keys if sessions is None else [keys[row] for row in sessions.final_row]
        rewards: defaultdict[str, list[float]] = defaultdict(list)
        for key, reward in self._rewards_of(partition_id, keys):
            rewards[key.split("_")[0]].append(reward)
        return {uid: torch.tensor(rewards[uid], dtype=torch.float64).sort().values for uid in uids}

    def _rewards_of(self, partition_id: str, keys: list[str]) -> Iterable[tuple[str, float]]:
        if not keys:
            return
        fields = ["rm_scores"] if self.filter_groups_metric == REWARD else []
        if not fields or self._drops_unscored:
            fields.append("extra_fields")
        data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=fields)
        scores = list(data["rm_scores"]) if "rm_scores" in fields else [None] * len(keys)
        infos = map(_reward_extra_info, data["extra_fields"]) if "extra_fields" in fields else [{}] * len(keys)
        for key, score, info in zip(keys, scores, infos, strict=True):
            if not (self._drops_unscored and info.get(COLUMN) in UNSCORED):
                yield key, self._metric(info) if score is None else float(score.sum())

    def _metric(self, info: dict[str, Any]) -> float:
        value = info.get(self.filter_groups_metric)
        if value is None:
            raise ValueError(
                f"algorithm.filter_groups.metric={self.filter_groups_metric} is not in the reward_extra_info of a "
                f"response: choose reward or one of {', '.join(info) or 'none, as there is nothing in it'}"
            )
        return float(value)

    def _evict_terminal_groups(self, global_steps: int, partition_id: str, eviction_reasons: Any) -> Any:
        stale, without_signal, failed, _ = eviction_reasons
        dropped = Counter(self._kinds[uid] for uid in without_signal)
        dropped["failed"] += len(failed - without_signal - stale)
        self._dropped_in_step += dropped
        self._unreported += dropped
        evicted = super()._evict_terminal_groups(global_steps, partition_id, eviction_reasons)
        if partition_id != "val":
            self._check_limit(len(self.finished_keys[partition_id] | self.failure_keys[partition_id]))
        return evicted

    def _clear_groups(self, partition_id: str, uids: set[str]) -> None:
        """Count the tokens that were generated for nothing."""
        tags = self.partitions[partition_id]
        self._unreported["tokens"] += sum(
            tag.get("response_len", 0) for key, tag in tags.items() if key.split("_")[0] in uids
        )
        super()._clear_groups(partition_id, uids)

    def _check_limit(self, usable: int) -> None:
        """Stop where ``max_num_gen_batches`` batches were not enough; ``usable`` groups wait in the buffer."""
        judged = self._dropped_in_step.total() + self._selected + usable
        if usable >= self._wanted or judged < self._limit * self.train_batch_size:
            return
        counts = ", ".join(f"{count} {kind}" for kind, count in self._dropped_in_step.most_common())
        raise RuntimeError(
            f"algorithm.filter_groups.max_num_gen_batches={self._limit}: of {judged} groups generated for step "
            f"{self._step} only {self._selected + usable} teach anything for {self._name_of_objective()}, and "
            f"data.train_batch_size={self.train_batch_size} are needed. The others: {counts}. It seems that "
            f"{ADVICE[self._dropped_in_step.most_common(1)[0][0]]}; or raise max_num_gen_batches"
        )

    def _name_of_objective(self) -> str:
        return f"algorithm.maxpo.k={self._options.k}" if self._options else "an estimator that compares rewards"


def _maxpo_options(config: Any) -> MaxPOConfig | None:
    """Return the options of maxpo, None for another estimator, for which all rewards being equal is no signal."""
    is_ours = config.algorithm.adv_estimator == ESTIMATOR_NAME
    return MaxPOConfig.from_algorithm(config.algorithm) if is_ours else None


def _reward_extra_info(extra_fields: Any) -> dict[str, Any]:
    fields = getattr(extra_fields, "data", extra_fields)
    return (fields.get("reward_extra_info") or {}) if isinstance(fields, dict) else {}


def _kinds(ranked: dict[str, Tensor], objective: Objective) -> dict[str, str]:
    """Return the kind of each group."""
    of_size: defaultdict[int, list[str]] = defaultdict(list)
    for uid, rewards in ranked.items():
        of_size[len(rewards)].append(uid)
    kinds = dict.fromkeys(of_size.pop(0, []), "undersized")
    for uids in of_size.values():
        for kind, which in kinds_of_groups(torch.stack([ranked[uid] for uid in uids]), objective).items():
            kinds.update({uid: kind for uid, is_it in zip(uids, which.tolist(), strict=True) if is_it})
    return kinds


class SignalReplayBuffer(_DropsGroupsWithoutSignal):
    """verl's buffer for ``trainer.v1.trainer_mode=sync``, without the groups that teach nothing."""


class SignalReplayBufferAsync(_DropsGroupsWithoutSignal, ReplayBufferAsync):
    """verl's buffer for the asynchronous modes, without the groups that teach nothing."""

    def wait_for_sampleable(self, global_steps: int, partition_id: str, target_count: int) -> Any:
        """Wait until so many groups that teach something are there."""
        self._wanted = target_count
        return super().wait_for_sampleable(global_steps, partition_id, target_count)
