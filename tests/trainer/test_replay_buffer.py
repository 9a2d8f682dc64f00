"""Groups that teach nothing are dropped and replaced: verl's own replay buffers over a queue in memory."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import verl.trainer.ppo.v1.replay_buffer as verls
from hypothesis import given, settings
from hypothesis import strategies as st
from support.verl_runs import composed
from tensordict import TensorDict
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.trainer.ppo.v1.utils import MetricsAggregator
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_maxpo import maj_at_k_advantages, max_at_k_advantages, selected_at_k_advantages
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.trainer import replay_buffer
from verl_maxpo.trainer.replay_buffer import _kinds

MODES = ["sync", "colocate_async", "separate_async"]
SAMPLER = "trainer.v1.sampler.custom_sampler"
DYNAMIC = [
    f"{SAMPLER}.path=pkg://verl_maxpo.trainer.replay_buffer",
    f"{SAMPLER}.name=dynamic_sampler",
    "algorithm.filter_groups.enable=true",
    "algorithm.filter_groups.max_num_gen_batches=4",
]


class Queue:
    """TransferQueue as the replay buffer uses it: tags and values by partition and key."""

    def __init__(self) -> None:
        self.tags: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.values: dict[str, dict[str, Any]] = {}

    def kv_list(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {name: {key: dict(tag) for key, tag in tags.items()} for name, tags in self.tags.items()}

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> TensorDict:
        assert all(key in self.tags[partition_id] for key in keys)
        return list_of_dict_to_tensordict([{name: self.values[key][name] for name in select_fields} for key in keys])

    def kv_clear(self, partition_id: str, keys: list[str]) -> None:
        for key in keys:
            self.tags[partition_id].pop(key, None)

    def kv_batch_put(self, keys: list[str], partition_id: str, tags: list[dict[str, Any]]) -> None:
        for key, tag in zip(keys, tags, strict=True):
            self.tags[partition_id].setdefault(key, {}).update(tag)


class Trainer:
    """What verl's trainer does around its replay buffer: each prompt's group is the next of a list of rewards."""

    _build_replay_buffer = PPOTrainer._build_replay_buffer
    _resolve_filter_groups_metric = PPOTrainer._resolve_filter_groups_metric

    def __init__(self, queue: Queue, mode: str, groups: Iterator[Any], *overrides: str) -> None:
        options = [f"trainer.v1.trainer_mode={mode}", "data.train_batch_size=4", "algorithm.maxpo.k=2"]
        self.config = composed("maxpo_trainer", "actor_rollout_ref.rollout.n=4", *options, *DYNAMIC, *overrides)
        self.trainer_mode, self.queue, self.groups = mode, queue, groups
        self.global_steps, self.prompts, self.running = 1, 0, []
        self.replay_buffer = self._build_replay_buffer()
        self.replay_buffer.poll_interval = 0.0

    def _add_prompts_to_generate(self, num_prompts: int) -> None:
        for _ in range(num_prompts):
            uid = f"uid{self.prompts}"
            self.prompts += 1
            tag = {"is_prompt": True, "status": "running", "global_steps": self.global_steps}
            self.queue.kv_batch_put([uid], "train", [tag])
            self.running.append(uid)

    def generate(self, prompts: int) -> None:
        """Finish some of the prompts that are running."""
        assert self.running, "the replay buffer waits for nothing"
        for uid in self.running[:prompts]:
            rewards = next(self.groups)
            status = "finished"
            if isinstance(rewards, tuple):
                status, rewards = rewards
            for session, reward in enumerate(rewards):
                self.finish(f"{uid}_{session}_0", reward)
            self.queue.kv_batch_put([uid], "train", [{"status": status}])
        del self.running[:prompts]

    def finish(self, key: str, reward: float, tokens: int = 3, **info: Any) -> None:
        self.queue.values[key] = {
            "rm_scores": torch.tensor([0.0] * tokens + [reward]),
            "extra_fields": {"reward_extra_info": {"acc": float(reward > 0), **info}},
        }
        self.queue.kv_batch_put([key], "train", [{"status": "success", "response_len": tokens}])

    def step(self, wanted: int = 4) -> tuple[list[list[float]], dict[str, Any]]:
        """Sample one batch, as a step does, and return its groups and the metrics."""
        batch, metrics = self.replay_buffer.sample(self.global_steps, "train", wanted)
        groups: defaultdict[str, list[float]] = defaultdict(list)
        for key in batch.keys:
            groups[key.split("_")[0]].append(float(self.queue.values[key]["rm_scores"].sum()))
        self.queue.kv_clear("train", batch.keys)
        return list(groups.values()), metrics


@pytest.fixture
def make_trainer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Make a trainer that generates two more groups whenever its replay buffer waits."""

    def make(mode: str, groups: Iterator[Any], *overrides: str) -> Trainer:
        queue = Queue()
        monkeypatch.setattr(verls, "tq", queue)
        monkeypatch.setattr(replay_buffer, "tq", queue)
        trainer = Trainer(queue, mode, groups, *overrides)
        clock = SimpleNamespace(time=time.time, sleep=lambda _: trainer.generate(2))
        monkeypatch.setattr(verls, "time", clock)
        return trainer

    return make


FAIL, SOLVED, EASY, TEACHES, TEACHES_TOO = [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [0, 1, 1, 0]
MIXED = [FAIL, TEACHES, EASY, TEACHES_TOO, SOLVED]
MOSTLY_EASY = [FAIL, EASY, TEACHES, EASY, SOLVED]  # verl takes any of the groups that are left, in the order of a set


@pytest.mark.parametrize("mode", MODES)
def test_only_groups_that_teach_are_sampled_and_the_others_are_counted(make_trainer: Any, mode: str) -> None:
    trainer = make_trainer(mode, itertools.cycle(MIXED))
    for step in range(1, 4):
        trainer.global_steps = step
        trainer._add_prompts_to_generate(4)
        groups, metrics = trainer.step()
        assert len(groups) == 4
        assert all(group in (TEACHES, TEACHES_TOO) for group in groups)
        dropped = {name: metrics[f"best_of_k/dropped_total/{name}"] for name in ("all_fail", "all_equal", "undersized")}
        assert dropped["all_fail"] >= 1
        assert dropped["undersized"] == 0
        assert metrics["best_of_k/dropped_total/too_many_successes"] >= 1
        surplus = metrics.get("training/filter_groups/discarded_surplus_samples", 0)
        thrown_away = metrics["training/filter_groups/evicted_samples"] + surplus
        assert metrics["best_of_k/dropped_total/tokens"] == 4 * 3 * thrown_away


@pytest.mark.parametrize("mode", MODES)
def test_verls_own_filter_keeps_what_is_solved_too_often(make_trainer: Any, mode: str) -> None:
    trainer = make_trainer(mode, itertools.cycle(MOSTLY_EASY), f"{SAMPLER}.path=null")
    trainer._add_prompts_to_generate(4)
    assert EASY in trainer.step()[0]


@pytest.mark.parametrize("mode", MODES)
def test_without_the_filter_it_is_verls_own_buffer(make_trainer: Any, mode: str) -> None:
    off = "algorithm.filter_groups.enable=false"
    theirs = make_trainer(mode, iter([]), off, f"{SAMPLER}.path=null").replay_buffer
    trainer = make_trainer(mode, iter(MIXED), off)
    assert type(trainer.replay_buffer) is type(theirs)
    used = vars(theirs).keys() - {"refill_fn", "poll_interval"}
    used -= {"train_batch_size", "gen_batch_size"} if mode != "sync" else set()  # only the synchronous one has them
    assert all(getattr(trainer.replay_buffer, name) == getattr(theirs, name) for name in used)
    trainer._add_prompts_to_generate(4)
    assert trainer.step()[0] == MIXED[:4]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("group", "advice"), [
    (FAIL, "all_fail. It seems that no response of most groups succeeds"),
    (SOLVED, "all_equal. It seems that all responses of most groups succeed"),
    (EASY, "too_many_successes. It seems that most groups are solved too often for this k: lower algorithm.maxpo.k"),
    (("failure", []), "undersized. It seems that most groups have lost responses"),
])  # fmt: skip
def test_generation_ends_with_what_the_data_look_like(make_trainer: Any, mode: str, group: Any, advice: str) -> None:
    trainer = make_trainer(mode, itertools.repeat(group))
    trainer._add_prompts_to_generate(4)
    limit = r"max_num_gen_batches=4: of 1[67] groups generated for step 1 only 0 teach anything"
    with pytest.raises(RuntimeError, match=limit) as error:
        trainer.step()
    assert advice in str(error.value)
    assert trainer.prompts <= 4 * 4 + 4 + 2  # what was in flight


def test_a_limit_counts_each_step_anew(make_trainer: Any) -> None:
    trainer = make_trainer("colocate_async", itertools.cycle([FAIL] * 8 + [TEACHES] * 4))
    for trainer.global_steps in range(1, 6):
        trainer._add_prompts_to_generate(4)
        assert len(trainer.step()[0]) == 4


def test_a_limit_spans_the_iterations_of_a_step(make_trainer: Any) -> None:
    trainer = make_trainer("separate_async", itertools.chain([TEACHES] * 2, itertools.repeat(FAIL)))
    trainer._add_prompts_to_generate(4)
    assert len(trainer.step(2)[0]) == 2
    with pytest.raises(RuntimeError, match="of 16 groups generated for step 1 only 2 teach anything"):
        trainer.step(2)


def test_verl_adds_the_counts_up_over_the_iterations_of_a_step(make_trainer: Any) -> None:
    trainer = make_trainer("separate_async", itertools.cycle(MIXED))
    trainer._add_prompts_to_generate(4)
    iterations = [trainer.step(2)[1] for _ in range(2)]
    assert sum(metrics["best_of_k/dropped_total/all_fail"] for metrics in iterations) >= 2
    aggregator = MetricsAggregator()
    for metrics in iterations:
        aggregator.add_step_metrics(metrics, sample_count=8)
    aggregated = aggregator.get_aggregated_metrics()
    assert aggregated.pop(verls.DAPO_FILTERED_REWARD_COUNTS_KEY).keys() == {0.0, 1.0}  # for verl's table in wandb
    for name, value in aggregated.items():
        assert value == sum(metrics.get(name, 0) for metrics in iterations), name


def test_stale_groups_are_dropped_as_verl_drops_them(make_trainer: Any) -> None:
    trainer = make_trainer("colocate_async", itertools.repeat(TEACHES), "trainer.v1.sampler.max_off_policy_threshold=2")
    trainer._add_prompts_to_generate(6)
    trainer.step()
    trainer.generate(6)
    trainer.global_steps = 4
    trainer._add_prompts_to_generate(4)
    groups, metrics = trainer.step()
    assert len(groups) == 4
    assert metrics["training/off_policy/evicted_samples"] == 2
    assert metrics["best_of_k/dropped_total/all_fail"] == metrics["best_of_k/dropped_total/failed"] == 0
    assert metrics["best_of_k/dropped_total/tokens"] == 2 * 4 * 3


def test_separate_async_can_wait_for_the_buffer_to_fill(make_trainer: Any) -> None:
    trainer = make_trainer("separate_async", itertools.cycle(MIXED))
    trainer._add_prompts_to_generate(8)
    uids, _ = trainer.replay_buffer.wait_for_sampleable(1, "train", 3)
    assert len(uids) >= 3
    assert trainer.replay_buffer.get_sampleable_count(1, "train") == len(uids)


def test_a_failed_group_is_judged_by_what_is_left_of_it(make_trainer: Any) -> None:
    groups = [("failure", [1, 0, 0]), ("failure", [1, 0]), ("failure", [0, 0, 0]), TEACHES]
    trainer = make_trainer("sync", itertools.cycle(groups))
    trainer._add_prompts_to_generate(4)
    sampled, metrics = trainer.step()
    assert all(group in ([1, 0, 0], TEACHES) for group in sampled)
    assert metrics["best_of_k/dropped_total/undersized"] >= 1
    assert metrics["best_of_k/dropped_total/all_fail"] >= 1


def test_asynchronous_modes_replace_failed_groups_as_verl_does(make_trainer: Any) -> None:
    trainer = make_trainer("colocate_async", itertools.cycle([("failure", [1, 0, 0]), TEACHES]))
    trainer._add_prompts_to_generate(4)
    sampled, metrics = trainer.step()
    assert sampled == [TEACHES] * 4
    assert metrics["best_of_k/dropped_total/failed"] >= 3


@pytest.mark.parametrize("mode", MODES)
def test_validation_takes_every_group(make_trainer: Any, mode: str) -> None:
    trainer = make_trainer(mode, iter([]))
    for uid, rewards in (("a", FAIL), ("b", SOLVED)):
        tag = {"is_prompt": True, "status": "finished", "global_steps": 1}
        trainer.queue.kv_batch_put([uid], "val", [tag])
        keys = [f"{uid}_{session}_0" for session in range(len(rewards))]
        trainer.queue.kv_batch_put(keys, "val", [{"status": "success", "response_len": 3}] * len(rewards))
    batch, metrics = trainer.replay_buffer.sample(1, "val", 2)
    assert len(batch.keys) == 8
    assert metrics == {}


def kinds_in(trainer: Trainer, sessions: list[tuple[str, float, dict[str, Any]]]) -> dict[str, str]:
    """Return the kinds of the groups that finished with these rows."""
    for key, reward, row in sessions:
        trainer.finish(key, reward, **row)
    for uid in {key.split("_")[0] for key, _, _ in sessions}:
        tag = {"is_prompt": True, "status": "finished", "global_steps": 1}
        trainer.queue.kv_batch_put([uid], "train", [tag])
    trainer.replay_buffer.get_sampleable_count(1, "train")
    return dict(trainer.replay_buffer._kinds)


def test_rows_of_a_session_count_once(make_trainer: Any) -> None:
    # Four sessions, one of which succeeded in three rows: by rows c = 3 > n - k for n = 4.
    rows = [("a_0_0", 1, {}), ("a_0_1", 1, {}), ("a_0_2", 1, {})] + [(f"a_{session}_0", 0, {}) for session in (1, 2)]
    assert kinds_in(make_trainer("colocate_async", iter([])), rows) == {"a": "signal"}
    solved = [("b_0_0", 1, {}), ("b_0_1", 1, {}), ("b_1_0", 1, {}), ("b_2_0", 0, {})]
    assert kinds_in(make_trainer("colocate_async", iter([])), solved) == {"b": "too_many_successes"}


def test_rows_that_do_not_count_shrink_their_group(make_trainer: Any) -> None:
    empty = [("a_0_0", 1, {"tokens": 0}), ("a_1_0", 0, {}), ("a_2_0", 0, {}), ("a_3_0", 0, {})]
    assert kinds_in(make_trainer("colocate_async", iter([])), empty) == {"a": "all_fail"}
    unscored = [("a_0_0", 1, {"status": "ok"}), *((f"a_{i}_0", 0, {"status": "crash"}) for i in (1, 2, 3))]
    assert kinds_in(make_trainer("colocate_async", iter([])), unscored) == {"a": "signal"}
    drop = "+reward.reward_kwargs.unscored=drop"
    assert kinds_in(make_trainer("colocate_async", iter([]), drop), unscored) == {"a": "undersized"}


def test_another_metric_decides(make_trainer: Any) -> None:
    # acc is whether the reward is above 0.
    rows = [(f"a_{session}_0", reward, {}) for session, reward in enumerate([0.5, 1, 2, 3])]
    assert kinds_in(make_trainer("colocate_async", iter([])), rows) == {"a": "signal"}
    acc = make_trainer("colocate_async", iter([]), "algorithm.filter_groups.metric=acc")
    assert kinds_in(acc, rows) == {"a": "all_equal"}
    missing = make_trainer("colocate_async", iter([]), "algorithm.filter_groups.metric=accuracy")
    with pytest.raises(
        ValueError, match=r"metric=accuracy is not in the reward_extra_info .*: choose reward or one of acc"
    ):
        kinds_in(missing, rows)


def test_a_schedule_of_k_decides_by_the_step(make_trainer: Any) -> None:
    trainer = make_trainer("colocate_async", iter([]), "algorithm.maxpo.k='{0: 2, 5: 1}'")
    rows = [(f"a_{session}_0", reward, {}) for session, reward in enumerate(EASY)]
    assert kinds_in(trainer, rows) == {"a": "too_many_successes"}
    assert trainer.replay_buffer.get_sampleable_count(4, "train") == 0
    assert trainer.replay_buffer.get_sampleable_count(5, "train") == 1


def test_other_estimators_lose_groups_of_equal_rewards_only(make_trainer: Any) -> None:
    trainer = make_trainer("sync", itertools.cycle(MOSTLY_EASY), "algorithm.adv_estimator=grpo")
    trainer._add_prompts_to_generate(4)
    groups, _ = trainer.step()
    assert EASY in groups
    assert all(group in (TEACHES, TEACHES_TOO, EASY) for group in groups)


@pytest.mark.parametrize(("override", "message"), [
    ("algorithm.filter_groups.max_num_gen_batches=0", "max_num_gen_batches must be at least 1, got 0"),
    ("algorithm.filter_groups.metric=null", "metric must be reward or a name in reward_extra_info, got None"),
    ("reward.reward_model.enable=true", "set reward.reward_model.enable_resource_pool=true"),
    ("algorithm.maxpo.k=0", "algorithm.maxpo.k must be at least 1, got 0"),
])  # fmt: skip
def test_options_that_cannot_work_are_errors_before_anything_is_loaded(
    make_trainer: Any, override: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer("sync", iter([]), override)


def test_a_verl_that_has_changed_is_an_error(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplayBuffer, "_dapo_filtered_keys", lambda self, partition, step: None)
    with pytest.raises(RuntimeError, match=r"verl has changed: .*_dapo_filtered_keys"):
        make_trainer("sync", iter([]))


def test_a_method_that_belongs_to_no_trainer_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="given the trainer's own method as refill_fn"):
        replay_buffer.dynamic_sampler("sync", print)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(["reward", "score", "vote"]))
def test_a_group_is_dropped_exactly_if_it_has_no_advantage(data: st.DataObject, rule: Any) -> None:
    rewards = data.draw(st.lists(st.integers(-1, 1).map(float), min_size=2, max_size=7))
    n = len(rewards)
    chosen = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    k: Any = data.draw(st.one_of(st.integers(1, n - 1), st.lists(st.integers(1, n - 1), min_size=2, max_size=3)))
    advantages = {
        "reward": lambda: max_at_k_advantages(rewards, k),
        "score": lambda: selected_at_k_advantages(rewards, chosen, k),
        "vote": lambda: maj_at_k_advantages(rewards, chosen, k),
    }[rule]()
    kind = _kinds({"a": list(zip(rewards, chosen, strict=True))}, Objective.of(k), rule)["a"]
    assert (kind == "signal") == (advantages.abs().max() > 1e-6)


@pytest.mark.parametrize(("select_by", "info"), [("judge", "judge"), ("vote", "answer")])
def test_groups_are_judged_by_what_is_chosen(make_trainer: Any, select_by: str, info: str) -> None:
    # The one that fails never wins at k = 2, although c = 3 > n - k only says so for max@k.
    trainer = make_trainer("colocate_async", iter([]), f"algorithm.maxpo.select_by={select_by}")
    rows = [(f"a_{i}_0", reward, {info: float(i)}) for i, reward in enumerate([0, 1, 1, 1])]
    assert kinds_in(trainer, rows) == {"a": "too_many_successes" if select_by == "judge" else "signal"}
    better = make_trainer("colocate_async", iter([]), f"algorithm.maxpo.select_by={select_by}")
    assert kinds_in(better, [(f"a_{i}_0", r, {info: float(i)}) for i, r in enumerate([1, 1, 1, 0])]) == {"a": "signal"}
