"""What the wrapper around PPOTrainer._compute_advantage gives: sessions that count once, and metrics."""

from __future__ import annotations

import inspect
import logging
import re
import types
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import verl.trainer.ppo.v1.trainer_base as trainer_base
from support.processes import RunPython
from support.verl_runs import composed
from tensordict import TensorDict
from torch.testing import assert_close
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_maxpo import (
    grouped_maj_at_k_advantages,
    grouped_max_at_k_advantages,
    grouped_selected_at_k_advantages,
    maj_at_k_advantages,
    selected_at_k_advantages,
)
from verl_maxpo.trainer import estimator, hooks
from verl_maxpo.trainer.estimator import compute_maxpo_outcome_advantage
from verl_maxpo.trainer.step import TrainerStep, current_step, sessions_of, trainer_step

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forget_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator, "_warned", set())


def step_of(keys: list[Any], metrics: dict[str, Any] | None = None, number: int = 1) -> TrainerStep:
    return TrainerStep(number, keys, [str(key).startswith("pad") for key in keys], {} if metrics is None else metrics)


# Sessions


def test_sessions_keep_the_row_with_the_highest_index() -> None:
    keys = ["u_1_0_10", "u_1_0_9", "u_1_0_0", "v_0_0", "v_1_1", "v_1_0", "u_1_1_0"]
    sessions = sessions_of(keys, CPU)
    assert sessions is not None
    assert sessions.of_row.tolist() == [0, 0, 0, 1, 2, 2, 3]
    assert sessions.final_row.tolist() == [0, 3, 4, 6]


@pytest.mark.parametrize("keys", [[], ["a_0_0"], ["a_0_0", "a_1_0", "b_0_0"], ["a_0_3", "a_1_7"]])
def test_sessions_of_one_row_need_nothing(keys: list[str]) -> None:
    assert sessions_of(keys, CPU) is None


@pytest.mark.parametrize("keys", [["a_0_x", "a_0_y"], ["a_0_0", None], ["a_0_0", 7], [("a", 0, 0)]])
def test_keys_of_another_form_are_an_error(keys: list[Any]) -> None:
    got = next(key for key in keys if key != "a_0_0")
    with pytest.raises(ValueError, match=re.escape(f"keys must look like {{uid}}_{{session}}_{{index}}, got {got!r}")):
        sessions_of(keys, CPU)


def test_the_step_ends_with_the_call_even_after_an_error() -> None:
    def fail() -> None:
        with trainer_step(step_of(["a_0_0"])):
            assert current_step.get() is not None
            raise RuntimeError("in the trainer")

    with pytest.raises(RuntimeError, match="in the trainer"):
        fail()
    assert current_step.get() is None


# verl's trainer, with a fake TransferQueue


class Queue:
    """Holds what the trainer puts and gets, as nested tensors."""

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self.rows = rows
        self.put: dict[str, dict[str, torch.Tensor]] = {}

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> TensorDict:
        rows = [self.rows[key] for key in keys]
        return list_of_dict_to_tensordict([{name: row[name] for name in select_fields if name in row} for row in rows])

    def kv_batch_put(self, keys: list[str], partition_id: str, fields: TensorDict) -> str:
        self.put = {name: dict(zip(keys, field.unbind(), strict=True)) for name, field in fields.items()}
        for name, values in self.put.items():
            for key, value in values.items():
                self.rows[key] = self.rows[key] | {name: value}
        return "batch"


class Trainer(trainer_base.PPOTrainer):
    """A trainer that was never initialised, without Ray."""

    def on_sample_end(self) -> None: ...
    def on_step_end(self) -> None: ...


def row(uid: str, reward: float, length: int, padding: bool = False) -> dict[str, Any]:
    scores = torch.zeros(length)
    scores[-1] = reward
    return {"uid": uid, "response_mask": torch.full((length,), int(not padding)), "rm_scores": scores}


def shuffled(rows: dict[str, dict[str, Any]], seed: int = 0) -> dict[str, dict[str, Any]]:
    order = np.random.default_rng(seed).permutation(len(rows))
    return {list(rows)[i]: list(rows.values())[i] for i in order}


# Two prompts with 4 sessions each of 1 to 3 rows, and padding; the reward of a session is that of its last row.
SESSION_REWARDS = {"a": [1.0, 0.0, 3.0, 0.5], "b": [0.0, 0.0, 2.0, 1.0]}
SEVERAL_ROWS = shuffled(
    {
        f"{uid}_{session}_{index}": row(uid, reward if index == session % 3 else 100.0 + index, 2 + index)
        for uid, rewards in SESSION_REWARDS.items()
        for session, reward in enumerate(rewards)
        for index in range(session % 3 + 1)
    }
    | {f"pad0_{session}_0": row("pad0", 0.0, 1, padding=True) for session in range(3)}
)
ONE_ROW = shuffled({f"{uid}_{session}_0": row(uid, reward, 2 + session)
                    for uid, rewards in SESSION_REWARDS.items() for session, reward in enumerate(rewards)})  # fmt: skip


@cache
def config_of(*overrides: str) -> Any:
    return composed("maxpo_trainer", "actor_rollout_ref.rollout.n=4", "algorithm.maxpo.k=2", *overrides)


def run_trainer(
    monkeypatch: pytest.MonkeyPatch, rows: dict[str, dict[str, Any]], *overrides: str, step: int = 1
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Run PPOTrainer._compute_advantage on the rows; return the advantages by key, and the metrics."""
    queue, metrics = Queue(dict(rows)), {"training/global_step": 1}
    monkeypatch.setattr(trainer_base, "tq", queue)
    tags = [{"is_padding": True} if key.startswith("pad") else {} for key in rows]
    batch = KVBatchMeta(keys=list(rows), tags=tags, partition_id="train")
    trainer = Trainer.__new__(Trainer)
    trainer.global_steps = step
    trainer.config = config_of(*overrides)
    assert trainer._compute_advantage(batch, metrics=metrics) == "batch"
    return queue.put["advantages"], metrics


def expected_of_sessions(k: int) -> dict[str, float]:
    rewards = torch.tensor([*SESSION_REWARDS["a"], *SESSION_REWARDS["b"]])
    advantages = grouped_max_at_k_advantages(rewards, "aaaabbbb", k).tolist()
    return {f"{uid}_{session}": advantages.pop(0) for uid in "ab" for session in range(4)}


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("rows", [SEVERAL_ROWS, ONE_ROW], ids=["several rows", "one row"])
def test_each_session_counts_once_and_all_its_rows_get_its_advantage(
    monkeypatch: pytest.MonkeyPatch, rows: dict[str, dict[str, Any]], k: int
) -> None:
    advantages, _ = run_trainer(monkeypatch, rows, f"algorithm.maxpo.k={k}")
    expected = expected_of_sessions(k)
    assert advantages.keys() == rows.keys()
    for key, actual in advantages.items():
        of_session = expected.get(key.rpartition("_")[0], 0.0)  # padding gets zeros
        assert_close(actual, torch.full((len(rows[key]["response_mask"]),), of_session))


def test_sessions_agree_with_verls_own_for_grpo(monkeypatch: pytest.MonkeyPatch) -> None:
    # GRPO without the division by the std is (n - 1)/n of RLOO, which is k = 1.
    ours, _ = run_trainer(monkeypatch, SEVERAL_ROWS, "algorithm.maxpo.k=1")
    theirs, _ = run_trainer(
        monkeypatch, SEVERAL_ROWS, "algorithm.adv_estimator=grpo", "algorithm.norm_adv_by_std_in_grpo=false"
    )
    for key, advantages in theirs.items():
        assert_close(ours[key], 4 / 3 * advantages)


def test_metrics_of_the_sessions_reach_the_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    _, several = run_trainer(monkeypatch, SEVERAL_ROWS)
    _, one = run_trainer(monkeypatch, ONE_ROW)
    assert several.keys() == one.keys()
    assert several == pytest.approx(one)
    assert several["training/global_step"] == 1
    assert several["best_of_k/reward@1"] == pytest.approx((4.5 + 3.0) / 8)
    assert several["best_of_k/reward@4"] == pytest.approx(2.5)
    assert several["best_of_k/groups/signal"] == 1
    rewards = torch.tensor([*SESSION_REWARDS["a"], *SESSION_REWARDS["b"]])
    advantages = grouped_max_at_k_advantages(rewards, "aaaabbbb", 2)
    assert several["best_of_k/advantage/mean_square"] == pytest.approx(advantages.square().mean().item())


@pytest.mark.parametrize("other", ["grpo", "rloo"])
def test_other_estimators_see_no_difference(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    wrapped, metrics = run_trainer(monkeypatch, SEVERAL_ROWS, f"algorithm.adv_estimator={other}")
    original = inspect.unwrap(trainer_base.PPOTrainer._compute_advantage)
    monkeypatch.setattr(trainer_base.PPOTrainer, "_compute_advantage", original)
    plain, _ = run_trainer(monkeypatch, SEVERAL_ROWS, f"algorithm.adv_estimator={other}")
    assert metrics == {"training/global_step": 1}
    assert all(torch.equal(wrapped[key], plain[key]) for key in plain)


def test_kl_in_reward_is_taken_into_account_and_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mask = torch.ones(4, 2)
    config = config_of("algorithm.use_kl_in_reward=true").algorithm
    for _ in range(3):
        compute_maxpo_outcome_advantage(mask, mask, np.array(list("aaaa"), dtype=object), config)
    (warning,) = caplog.messages
    assert "set it to false and use actor_rollout_ref.actor.use_kl_loss=true" in warning


# Without the wrapper, or with a verl that has changed


def test_without_the_wrapper_rows_count(monkeypatch: pytest.MonkeyPatch) -> None:
    original = inspect.unwrap(trainer_base.PPOTrainer._compute_advantage)
    monkeypatch.setattr(trainer_base.PPOTrainer, "_compute_advantage", original)
    advantages, metrics = run_trainer(monkeypatch, SEVERAL_ROWS)
    assert metrics == {"training/global_step": 1}
    rows = [key for key in SEVERAL_ROWS if not key.startswith("pad")]
    rewards = torch.stack([SEVERAL_ROWS[key]["rm_scores"].sum() for key in rows])
    expected = grouped_max_at_k_advantages(rewards, [key[0] for key in rows], 2)
    assert_close(torch.stack([advantages[key][0] for key in rows]), expected)


@pytest.mark.parametrize("rows", [SEVERAL_ROWS, ONE_ROW], ids=["several rows", "one row"])
def test_with_the_wrapper_there_is_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rows: dict[str, dict[str, Any]]
) -> None:
    run_trainer(monkeypatch, rows)
    assert not caplog.messages


def test_padding_never_looks_like_a_large_group(caplog: pytest.LogCaptureFixture) -> None:
    mask = torch.tensor([[1]] * 4 + [[0]] * 40)
    index = np.array(["a"] * 4 + ["pad0"] * 40, dtype=object)
    compute_maxpo_outcome_advantage(mask.float(), mask, index, config_of().algorithm)
    assert not caplog.messages


@pytest.mark.parametrize("keys", [[None] * 4, ["x"] * 4, ["a_0_last", "a_0_0", "a_1_0", "a_2_0"]])
def test_keys_that_do_not_fit_are_a_warning_and_rows_count(keys: list[str], caplog: pytest.LogCaptureFixture) -> None:
    rewards, index = torch.tensor([[1.0], [0.0], [2.0], [0.0]]), np.array(["a"] * 4, dtype=object)
    algorithm = config_of().algorithm
    expected, _ = compute_maxpo_outcome_advantage(rewards, torch.ones(4, 1), index, algorithm)
    metrics: dict[str, Any] = {}
    with trainer_step(step_of(keys, metrics)):
        actual, _ = compute_maxpo_outcome_advantage(rewards, torch.ones(4, 1), index, algorithm)
    assert torch.equal(actual, expected)
    assert metrics["best_of_k/reward@1"] == 0.75
    (warning,) = caplog.messages
    assert warning.startswith("verl has changed, and maxpo counts each row as a response: keys must look like")


class ChangedTrainer:
    def _compute_advantage(self, batch: Any) -> Any:
        return batch


@pytest.mark.parametrize("members", [{}, {"PPOTrainer": ChangedTrainer}])
def test_a_changed_trainer_is_a_warning_and_left_alone(
    members: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    module = types.ModuleType("verl.changed")
    module.__dict__.update(members)
    hooks.show_trainer_step(module)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "verl has changed: verl-maxpo expected verl.changed.PPOTrainer._compute_advantage" in record.getMessage()
    assert "counts every row of a session as a response" in record.getMessage()
    assert ChangedTrainer()._compute_advantage("batch") == "batch"


def test_registering_again_wraps_once(run_python: RunPython) -> None:
    code = (
        "import importlib, verl, verl_maxpo.plugin as p\n"
        "from verl.trainer.ppo.v1.trainer_base import PPOTrainer\n"
        "before = PPOTrainer.__dict__['_compute_advantage']\n"
        "p.register(); importlib.reload(p)\n"
        "print(hasattr(before, '__wrapped__'), PPOTrainer.__dict__['_compute_advantage'] is before)"
    )
    result = run_python(code)
    assert result.stdout.split()[-2:] == ["True", "True"], result.stderr


# The other warnings


@pytest.mark.parametrize(
    ("k", "n", "warns"), [("4", 7, True), ("4", 8, False), ("1", 2, False), ("[1,6]", 7, False), ("all", 7, False)]
)
def test_k_above_half_of_the_group_is_a_warning(k: str, n: int, warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    algorithm = config_of(f"algorithm.maxpo.k={k}", f"actor_rollout_ref.rollout.n={n}").algorithm
    for _ in range(3):
        mask = torch.ones(n, 1)
        compute_maxpo_outcome_advantage(mask, mask, np.array(["a"] * n, dtype=object), algorithm)
    assert len(caplog.messages) == int(warns)
    if warns:
        assert "no signal once more than 3 of them share the best reward" in caplog.text
        assert "Raise actor_rollout_ref.rollout.n" in caplog.text


def test_norm_adv_by_std_in_grpo_is_said_to_be_ignored(caplog: pytest.LogCaptureFixture) -> None:
    mask, index = torch.ones(4, 1), np.array(["a"] * 4, dtype=object)
    for value in ("true", "false", "false"):
        algorithm = config_of(f"algorithm.norm_adv_by_std_in_grpo={value}").algorithm
        compute_maxpo_outcome_advantage(mask, mask, index, algorithm)
    (warning,) = caplog.messages
    assert "algorithm.norm_adv_by_std_in_grpo=false has no effect on maxpo" in warning


# Responses that do not count


def without_tokens(rows: dict[str, dict[str, Any]], names: list[str]) -> dict[str, dict[str, Any]]:
    """Empty the masks of sessions, or of single rows."""

    def emptied(key: str) -> bool:
        return key in names or key.rpartition("_")[0] in names

    empty = {key: row | {"response_mask": torch.zeros_like(row["response_mask"])} for key, row in rows.items()}
    return {key: empty[key] if emptied(key) else row for key, row in rows.items()}


@pytest.mark.parametrize("rows", [SEVERAL_ROWS, ONE_ROW], ids=["several rows", "one row"])
def test_sessions_without_tokens_do_not_count(monkeypatch: pytest.MonkeyPatch, rows: dict[str, dict[str, Any]]) -> None:
    advantages, metrics = run_trainer(monkeypatch, without_tokens(rows, ["a_1", "b_2"]), "algorithm.maxpo.k=1")
    kept = {"a_0": 1.0, "a_2": 3.0, "a_3": 0.5, "b_0": 0.0, "b_1": 0.0, "b_3": 1.0}
    of_kept = grouped_max_at_k_advantages(list(kept.values()), "aaabbb", 1).tolist()
    expected = dict(zip(kept, of_kept, strict=True))
    for key, actual in advantages.items():
        assert_close(actual, torch.full_like(actual, expected.get(key.rpartition("_")[0], 0.0)))
    assert metrics["best_of_k/reward@1"] == pytest.approx((4.5 / 3 + 1.0 / 3) / 2)
    assert metrics["best_of_k/responses/left_out"] == pytest.approx(2 / 8)
    assert metrics["best_of_k/groups/signal"] == 1


def test_what_verls_rejection_sampling_rejects_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rejected = "a_1_0"
    rows = {
        key: row
        | {
            "rollout_log_probs": torch.full(row["rm_scores"].shape, -1.0),
            "old_log_probs": torch.full(row["rm_scores"].shape, -6.0 if key == rejected else -1.0),
        }
        for key, row in ONE_ROW.items()
    }
    sampling = ["rollout_rs=seq_mean_k1", "rollout_rs_threshold='0.5_2.0'"]
    overrides = [f"algorithm.rollout_correction.{option}" for option in sampling]
    actual, metrics = run_trainer(monkeypatch, rows, *overrides)
    expected, _ = run_trainer(monkeypatch, without_tokens(ONE_ROW, [rejected]))
    assert metrics["rollout_corr/rollout_rs_masked_fraction"] > 0
    assert metrics["best_of_k/responses/left_out"] == 1 / 8
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


def test_a_session_counts_while_any_of_its_rows_has_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    some_rows = ["a_1_1", "a_2_2", "b_2_0"]
    advantages, metrics = run_trainer(monkeypatch, without_tokens(SEVERAL_ROWS, some_rows))
    expected = expected_of_sessions(2)
    for key, actual in advantages.items():
        of_row = 0.0 if key in some_rows else expected.get(key.rpartition("_")[0], 0.0)
        assert_close(actual, torch.full_like(actual, of_row))
    assert metrics["best_of_k/responses/left_out"] == 0


@pytest.mark.parametrize("rejected", [["a_0"], ["a_0", "a_1"], ["a_0", "a_1", "a_2", "a_3"]])
def test_groups_that_shrink_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rejected: list[str]
) -> None:
    undersized = len(rejected) > 1  # k = 2 needs three responses
    advantages, metrics = run_trainer(monkeypatch, without_tokens(SEVERAL_ROWS, rejected))
    assert metrics["best_of_k/groups/undersized"] == undersized / 2
    assert metrics["best_of_k/groups/signal"] == 1 - undersized / 2
    assert sum(value for name, value in metrics.items() if "/groups/" in name) == 1
    assert len(caplog.messages) == undersized
    assert any(advantages[key].any() for key in advantages if key[0] == "a") == (not undersized)
    assert not any(advantages[key].any() for key in advantages if key[:3] in rejected)


def test_a_batch_whose_groups_all_shrank_gets_zeros_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    advantages, metrics = run_trainer(monkeypatch, without_tokens(SEVERAL_ROWS, ["a_0", "a_1", "b_0", "b_1"]))
    assert not any(actual.any() for actual in advantages.values())
    assert metrics["best_of_k/groups/undersized"] == 1
    (warning,) = caplog.messages
    assert "2 groups of this batch have fewer than the 3 responses that algorithm.maxpo.k=2 needs" in warning


def test_rows_of_a_session_have_one_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {f"a_0_{index}": row(uid, 1.0, 2) for index, uid in enumerate(["first", "second"])}
    with pytest.raises(
        ValueError, match="rows 0 and 1 are of one agent session and must have one prompt, got the uids"
    ):
        run_trainer(monkeypatch, rows, "algorithm.maxpo.k=1")


def test_a_number_of_keys_that_does_not_fit_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    rewards, index = torch.tensor([[1.0], [0.0], [2.0], [0.0]]), np.array(["a"] * 4, dtype=object)
    with trainer_step(step_of(["a_0_0"])):
        actual, _ = compute_maxpo_outcome_advantage(rewards, torch.ones(4, 1), index, config_of().algorithm)
    assert actual.any()
    (warning,) = caplog.messages
    assert "the batch has 1 keys for 4 rows" in warning


DROP = "+reward.reward_kwargs.unscored=drop"


def marked(rows: dict[str, dict[str, Any]], unscored: list[str]) -> dict[str, dict[str, Any]]:
    """Mark the responses that the reward manager could not score."""
    statuses = {key: "timeout" if key.rpartition("_")[0] in unscored else "no_answer" for key in rows}
    return {key: row | {"extra_fields": {"reward_extra_info": {"status": statuses[key]}}} for key, row in rows.items()}


@pytest.mark.parametrize("rows", [SEVERAL_ROWS, ONE_ROW], ids=["several rows", "one row"])
def test_unscored_responses_are_dropped_like_rejected_ones(
    monkeypatch: pytest.MonkeyPatch, rows: dict[str, dict[str, Any]]
) -> None:
    puts: list[dict[str, Any]] = []
    original = Queue.kv_batch_put

    def put(self: Queue, keys: list[str], partition_id: str, fields: TensorDict) -> str:
        result = original(self, keys, partition_id, fields)
        puts.append(self.put)
        return result

    monkeypatch.setattr(Queue, "kv_batch_put", put)
    dropped, metrics = run_trainer(monkeypatch, marked(rows, ["a_1", "b_2"]), DROP)
    rejected, expected = run_trainer(monkeypatch, without_tokens(rows, ["a_1", "b_2"]))
    assert all(torch.equal(dropped[key], rejected[key]) for key in rejected)
    assert metrics.pop("best_of_k/responses/unscored") == 2 / 8
    assert metrics == expected
    masks = puts[0]
    of_unscored = {key for key in rows if key.rpartition("_")[0] in ("a_1", "b_2")}
    assert masks["response_mask"].keys() == masks["loss_mask"].keys() == of_unscored
    for key in of_unscored:
        assert torch.equal(masks["response_mask"][key], torch.zeros_like(rows[key]["response_mask"]))


def test_unscored_responses_count_unless_they_are_to_be_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, metrics = run_trainer(monkeypatch, marked(SEVERAL_ROWS, ["a_1"]), "+reward.reward_kwargs.unscored=zero")
    plain, expected = run_trainer(monkeypatch, SEVERAL_ROWS)
    assert all(torch.equal(kept[key], plain[key]) for key in plain)
    assert metrics == expected
    all_scored, metrics = run_trainer(monkeypatch, marked(SEVERAL_ROWS, []), DROP)
    assert all(torch.equal(all_scored[key], plain[key]) for key in plain)
    assert metrics == expected | {"best_of_k/responses/unscored": 0}


def test_a_reward_manager_that_does_not_say_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for extra_fields in ({}, {"reward_extra_info": {"acc": 1.0}}, {"reward_extra_info": {"status": None}}):
        rows = {key: row | {"extra_fields": extra_fields} for key, row in ONE_ROW.items()}
        with pytest.raises(ValueError, match=r"reward\.reward_kwargs\.unscored=drop needs status, a text, in the"):
            run_trainer(monkeypatch, rows, DROP)


def test_a_step_without_any_verdict_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = marked(ONE_ROW, [f"{uid}_{session}" for uid in "ab" for session in range(4)])
    with pytest.raises(ValueError, match="none of the 8 responses of this step has a verdict"):
        run_trainer(monkeypatch, rows, DROP)


# Chosen by a judge, or by vote


def saying(rows: dict[str, dict[str, Any]], of_session: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Have the rewards say more of each session; padding has nothing."""
    return {
        key: row | {"extra_fields": {"reward_extra_info": of_session.get(key.rpartition("_")[0])}}
        for key, row in rows.items()
    }


JUDGE = {"a": [3, 1, 1, 0.5], "b": [7, -2, 0, 0]}
VOTES = {"a": ["5", "6", "5", ""], "b": ["x", "x", "y", "z"]}


def said(judged: list[str] | None = None) -> dict[str, dict[str, Any]]:
    return {
        f"{uid}_{session}": {
            "judge": JUDGE[uid][session], "answer": VOTES[uid][session],
            "status": "crash" if f"{uid}_{session}" in (judged or []) else "ok",
        }
        for uid in "ab" for session in range(4)
    }  # fmt: skip


@pytest.mark.parametrize("rows", [SEVERAL_ROWS, ONE_ROW], ids=["several rows", "one row"])
@pytest.mark.parametrize("select_by", ["judge", "vote"])
def test_advantages_follow_what_is_chosen(
    monkeypatch: pytest.MonkeyPatch, rows: dict[str, dict[str, Any]], select_by: str
) -> None:
    advantages, metrics = run_trainer(
        monkeypatch, saying(rows, said()), "algorithm.maxpo.k=3", f"algorithm.maxpo.select_by={select_by}"
    )
    rewards = torch.tensor([*SESSION_REWARDS["a"], *SESSION_REWARDS["b"]])
    votes = [answer or None for answer in VOTES["a"] + VOTES["b"]]
    expected = (
        grouped_selected_at_k_advantages(rewards, JUDGE["a"] + JUDGE["b"], "aaaabbbb", 3)
        if select_by == "judge"
        else grouped_maj_at_k_advantages(rewards, votes, "aaaabbbb", 3)
    ).tolist()
    of_session = {f"{uid}_{session}": expected.pop(0) for uid in "ab" for session in range(4)}
    for key, actual in advantages.items():
        assert_close(actual, torch.full_like(actual, of_session.get(key.rpartition("_")[0], 0.0)))
    name = "selected" if select_by == "judge" else "maj"
    assert metrics[f"best_of_k/{name}@3"] < metrics["best_of_k/reward@3"]
    assert any(of_session.values())


def test_unscored_and_rejected_responses_are_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a verdict: the lowest score, and no vote. Without tokens: not in the group."""
    unscored, rejected = "a_0", "b_0"
    rows = without_tokens(saying(ONE_ROW, said([unscored])), [rejected])
    judged, _ = run_trainer(monkeypatch, rows, "algorithm.maxpo.k=2", "algorithm.maxpo.select_by=judge")
    expected = selected_at_k_advantages(SESSION_REWARDS["a"], [-99, *JUDGE["a"][1:]], 2).tolist()
    assert [judged[f"a_{session}_0"][0].item() for session in range(4)] == pytest.approx(expected)
    voted, _ = run_trainer(monkeypatch, rows, "algorithm.maxpo.k=2", "algorithm.maxpo.select_by=vote")
    expected = maj_at_k_advantages(SESSION_REWARDS["b"][1:], VOTES["b"][1:], 2).tolist()
    assert [voted[f"b_{session}_0"][0].item() for session in range(1, 4)] == pytest.approx(expected)
    assert not voted["b_0_0"].any()


@pytest.mark.parametrize(
    ("select_by", "info", "message"),
    [
        ("judge", {"acc": 1.0}, "select_by=judge needs judge in the reward_extra_info of every response, got acc"),
        ("judge", {}, "select_by=judge needs judge in the reward_extra_info of every response, got none"),
        ("judge", {"judge": float("nan")}, "select_by=judge needs a finite number in the reward_extra_info, got nan"),
        ("judge", {"judge": "good"}, "needs a finite number in the reward_extra_info, got 'good'"),
        ("vote", {"acc": 1.0}, "select_by=vote needs answer in the reward_extra_info of every response, got acc"),
    ],
)
def test_rewards_that_do_not_say_by_what_to_choose(
    monkeypatch: pytest.MonkeyPatch, select_by: str, info: dict[str, Any], message: str
) -> None:
    rows = saying(ONE_ROW, said() | {"a_1": info})
    with pytest.raises(ValueError, match=re.escape(message)):
        run_trainer(monkeypatch, rows, f"algorithm.maxpo.select_by={select_by}")


# Schedules


SCHEDULE = "algorithm.maxpo.k={0: 2, 3: [1,2], 5: all}"
STEPS = [(1, "2", 2, 2), (2, "2", 2, 2), (3, "[1,2]", 1, 2), (4, "[1,2]", 1, 2), (5, "all", 1, 3), (900, "all", 1, 3)]


@pytest.mark.parametrize(("step", "same_as", "smallest", "largest"), STEPS)
def test_a_schedule_follows_the_step_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, step: int, same_as: str, smallest: int, largest: int
) -> None:
    actual, metrics = run_trainer(monkeypatch, SEVERAL_ROWS, SCHEDULE, step=step)
    expected, fixed = run_trainer(monkeypatch, SEVERAL_ROWS, f"algorithm.maxpo.k={same_as}", step=step)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)
    assert (metrics["best_of_k/k/smallest"], metrics["best_of_k/k/largest"]) == (smallest, largest)
    assert metrics == fixed


def test_a_schedule_without_the_wrapper_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    original = inspect.unwrap(trainer_base.PPOTrainer._compute_advantage)
    monkeypatch.setattr(trainer_base.PPOTrainer, "_compute_advantage", original)
    with pytest.raises(
        ValueError, match=r"algorithm\.maxpo\.k=\{0: 2, 3: 1\} is a schedule, and only verl's V1 trainer"
    ):
        run_trainer(monkeypatch, ONE_ROW, "algorithm.maxpo.k={0: 2, 3: 1}")
