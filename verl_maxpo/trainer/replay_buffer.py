"""Dynamic sampling that knows K: groups that teach nothing for the chosen objective are dropped and replaced.

verl's own filter (``algorithm.filter_groups``, DAPO's) drops groups whose rewards are all equal. For max@k many more
teach nothing: with 0/1 rewards all groups with more than n - k successes. :func:`dynamic_sampler` makes verl's replay
buffer of the trainer's mode with that one decision replaced; generation, waiting, refills and staleness stay verl's.
See ``docs/dynamic_sampling.md``. The only module of this package that imports verl's trainer.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

from verl_maxpo.best_of_k.advantages import advantages_of
from verl_maxpo.best_of_k.groups import Rule, ranked_groups
from verl_maxpo.best_of_k.kinds import kinds_of_groups
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.guards import changed, expect_parameters
from verl_maxpo.trainer import ESTIMATOR_NAME
from verl_maxpo.trainer.config import MaxPOConfig
from verl_maxpo.trainer.reward_info import Info, chosen_by, drops_unscored, is_unscored, keys_of, reward_infos
from verl_maxpo.trainer.step import sessions_of

#: The metric of ``algorithm.filter_groups`` that stands for the reward itself; others are in ``reward_extra_info``.
REWARD = "reward"

#: The reward of a response, and its score or answer where ``algorithm.maxpo.select_by`` asks for one.
Response = tuple[float, Any]

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
            f"{key}.max_num_gen_batches must be at least 1, got {limit!r}: a step may generate that many batches in "
            "search of groups that teach anything; without a limit it would go on forever on data that no longer do. "
            "10 is usual"
        )
    reward_model = config.reward.reward_model
    if reward_model.enable and not reward_model.enable_resource_pool:
        raise ValueError(
            f"{key}.enable=true needs the rewards before a batch is chosen, and a colocated reward model gives them "
            "after: set reward.reward_model.enable_resource_pool=true"
        )


class _DropsGroupsWithoutSignal(ReplayBuffer):
    """Drop groups by the objective of the step, count them, and stop the run if too few teach anything."""

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(**options)
        self._options = _maxpo_options(config)
        self._select_by = self._options.select_by if self._options else REWARD
        self._drops_unscored = drops_unscored(config)
        self._limit = config.algorithm.filter_groups.max_num_gen_batches
        self._responses: dict[str, list[Response]] = {}  # of each group in the buffer
        self._kinds: dict[str, str] = {}  # of these groups
        self._judged_by: Objective | None = None
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
        complete = self.finished_keys[partition_id] | self.failure_keys[partition_id]
        if self._judged_by != (objective := self._objective()):
            self._judged_by, self._kinds = objective, {}
        kept = {uid: responses for uid, responses in self._responses.items() if uid in complete}
        self._responses = kept | self._read(partition_id, complete - kept.keys())
        self._kinds = {uid: kind for uid, kind in self._kinds.items() if uid in complete}
        judged = {uid: responses for uid, responses in self._responses.items() if uid not in self._kinds}
        self._kinds |= _kinds(judged, objective, self._options.rule if self._options else "reward")
        without = {uid for uid, kind in self._kinds.items() if kind != "signal"}
        rewards = ([reward for reward, _ in self._responses[uid]] for uid in without)
        return without, Counter(max(values) for values in rewards if values)

    def _objective(self) -> Objective:
        return self._options.objective_at(self._step) if self._options else Objective.of(1)

    def _read(self, partition_id: str, uids: set[str]) -> dict[str, list[Response]]:
        """Read the responses of groups; a session of several rows counts once, one without tokens never."""
        tags = self.partitions[partition_id]
        keys = [key for key in tags if key.split("_")[0] in uids and tags[key].get("response_len") != 0]
        sessions = sessions_of(keys, torch.device("cpu"))
        keys = keys if sessions is None else [keys[row] for row in sessions.final_row]
        responses: dict[str, list[Response]] = {uid: [] for uid in uids}
        for key, *response in self._responses_of(partition_id, keys):
            responses[key.split("_")[0]].append((response[0], response[1]))
        return responses

    def _responses_of(self, partition_id: str, keys: list[str]) -> Iterable[tuple[str, float, Any]]:
        """Yield key, reward, and score or answer of the responses that count."""
        if not keys:
            return
        fields = ["rm_scores"] if self.filter_groups_metric == REWARD else []
        if not fields or self._drops_unscored or self._select_by != REWARD:
            fields.append("extra_fields")
        data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=fields)
        scores = list(data["rm_scores"]) if "rm_scores" in fields else [None] * len(keys)
        infos = reward_infos(list(data["extra_fields"])) if "extra_fields" in fields else [{}] * len(keys)
        chosen = [None] * len(keys)
        if self._select_by != REWARD:
            chosen = chosen_by(infos, [False] * len(keys), self._select_by)
        for key, score, info, value in zip(keys, scores, infos, chosen, strict=True):
            if not (self._drops_unscored and is_unscored(info)):
                yield key, self._metric(info) if score is None else float(score.sum()), value

    def _metric(self, info: Info) -> float:
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


def _kinds(responses: Mapping[str, list[Response]], objective: Objective, rule: Rule) -> dict[str, str]:
    """Return the kind of each group, by its advantages."""
    uids = list(responses)
    rows = [(label, *response) for label, uid in enumerate(uids) for response in responses[uid]]
    kinds = dict.fromkeys(uids, "undersized")
    if not rows:
        return kinds
    labels, rewards, chosen = zip(*rows, strict=True)
    values, of_row = torch.tensor(rewards, dtype=torch.float64), torch.tensor(labels)
    keys = None if rule == "reward" else keys_of(chosen, rule, torch.ones_like(of_row, dtype=torch.bool))
    batches = ranked_groups(values, of_row, keys, rule)
    advantages = advantages_of(batches, values, objective)
    for groups in batches:
        for kind, fits in kinds_of_groups(groups.rewards, advantages[groups.rows], objective).items():
            kinds.update(dict.fromkeys((uids[label] for label in groups.labels[fits]), kind))
    return kinds


class SignalReplayBuffer(_DropsGroupsWithoutSignal):
    """verl's buffer for ``trainer.v1.trainer_mode=sync``, without the groups that teach nothing."""


class SignalReplayBufferAsync(_DropsGroupsWithoutSignal, ReplayBufferAsync):
    """verl's buffer for the asynchronous modes, without the groups that teach nothing."""

    def wait_for_sampleable(self, global_steps: int, partition_id: str, target_count: int) -> Any:
        """Wait until so many groups that teach something are there."""
        self._wanted = target_count
        return super().wait_for_sampleable(global_steps, partition_id, target_count)
