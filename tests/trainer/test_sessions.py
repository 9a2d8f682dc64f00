"""What the wrapper around PPOTrainer._compute_advantage gives: sessions that count once, and metrics."""

from __future__ import annotations

import logging
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
from transfer_queue import KVBatchMeta
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from verl_maxpo import grouped_max_at_k_advantages
from verl_maxpo.trainer import estimator, hooks
from verl_maxpo.trainer.estimator import compute_maxpo_outcome_advantage
from verl_maxpo.trainer.sessions import current_step, sessions_of, trainer_step

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forget_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator, "_warned", set())


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


def test_keys_of_another_form_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"keys must look like \{uid\}_\{session\}_\{index\}, got 'a_0_x'"):
        sessions_of(["a_0_x", "a_0_y"], CPU)


def test_the_step_ends_with_the_call_even_after_an_error() -> None:
    def fail() -> None:
        with trainer_step(["a_0_0"], {}):
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
        return list_of_dict_to_tensordict([self.rows[key] for key in keys])

    def kv_batch_put(self, keys: list[str], partition_id: str, fields: TensorDict) -> str:
        self.put = {name: dict(zip(keys, field.unbind(), strict=True)) for name, field in fields.items()}
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
    monkeypatch: pytest.MonkeyPatch, rows: dict[str, dict[str, Any]], *overrides: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Run PPOTrainer._compute_advantage on the rows; return the advantages by key, and the metrics."""
    queue, metrics = Queue(rows), {"training/global_step": 1}
    monkeypatch.setattr(trainer_base, "tq", queue)
    batch = KVBatchMeta(keys=list(rows), tags=[{} for _ in rows], partition_id="train")
    trainer = Trainer.__new__(Trainer)
    trainer.config = config_of(*overrides)
    assert trainer._compute_advantage(batch, metrics=metrics) == "batch"
    return queue.put["advantages"], metrics


def expected_of_sessions(k: int) -> dict[str, float]:
    rewards = torch.tensor([*SESSION_REWARDS["a"], *SESSION_REWARDS["b"]])
    advantages = grouped_max_at_k_advantages(rewards, "aaaabbbb", k, scale_by_k=True).tolist()
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
        torch.testing.assert_close(actual, torch.full((len(rows[key]["response_mask"]),), of_session))


def test_sessions_agree_with_verls_own_for_grpo(monkeypatch: pytest.MonkeyPatch) -> None:
    # GRPO without the division by the std is (n - 1)/n of RLOO, which is k = 1.
    ours, _ = run_trainer(monkeypatch, SEVERAL_ROWS, "algorithm.maxpo.k=1")
    theirs, _ = run_trainer(
        monkeypatch, SEVERAL_ROWS, "algorithm.adv_estimator=grpo", "algorithm.norm_adv_by_std_in_grpo=false"
    )
    for key, advantages in theirs.items():
        torch.testing.assert_close(ours[key], 4 / 3 * advantages)


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
    advantages = grouped_max_at_k_advantages(rewards, "aaaabbbb", 2, scale_by_k=True)
    assert several["best_of_k/advantage/mean_square"] == pytest.approx(advantages.square().mean().item())


@pytest.mark.parametrize("other", ["grpo", "rloo"])
def test_other_estimators_see_no_difference(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    wrapped, metrics = run_trainer(monkeypatch, SEVERAL_ROWS, f"algorithm.adv_estimator={other}")
    original = trainer_base.PPOTrainer._compute_advantage.__wrapped__
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


def test_without_the_wrapper_rows_count_and_one_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = trainer_base.PPOTrainer._compute_advantage.__wrapped__
    monkeypatch.setattr(trainer_base.PPOTrainer, "_compute_advantage", original)
    for _ in range(3):
        _, metrics = run_trainer(monkeypatch, SEVERAL_ROWS)
    assert metrics == {"training/global_step": 1}
    (warning,) = caplog.messages
    assert "a group of 7 rows where algorithm.maxpo.group_size=4" in warning


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


@pytest.mark.parametrize("keys", [["a_0_0"], ["x"] * 4, ["a_0_last", "a_0_0", "a_1_0", "a_2_0"]])
def test_keys_that_do_not_fit_are_a_warning_and_rows_count(keys: list[str], caplog: pytest.LogCaptureFixture) -> None:
    rewards, index = torch.tensor([[1.0], [0.0], [2.0], [0.0]]), np.array(["a"] * 4, dtype=object)
    algorithm = config_of().algorithm
    expected, _ = compute_maxpo_outcome_advantage(rewards, torch.ones(4, 1), index, algorithm)
    metrics: dict[str, Any] = {}
    with trainer_step(keys, metrics):
        actual, _ = compute_maxpo_outcome_advantage(rewards, torch.ones(4, 1), index, algorithm)
    assert torch.equal(actual, expected)
    assert metrics["best_of_k/reward@1"] == 0.75
    (warning,) = caplog.messages
    assert warning.startswith("verl has changed: ")


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
        "p.register(); importlib.reload(p)\n"
        "from verl.trainer.ppo.v1.trainer_base import PPOTrainer\n"
        "f = PPOTrainer.__dict__['_compute_advantage']; print(hasattr(f, '__wrapped__'),"
        " hasattr(f.__wrapped__, '__wrapped__'))"
    )
    result = run_python(code)
    assert result.stdout.split()[-2:] == ["True", "False"], result.stderr


# The other warnings


@pytest.mark.parametrize(("k", "n", "warns"), [("4", 7, True), ("4", 8, False), ("1", 2, False), ("[1,6]", 7, False)])
def test_k_above_half_of_the_group_is_a_warning(k: str, n: int, warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    weights = "algorithm.maxpo.weights=" + ("[0.5,0.5]" if k.startswith("[") else "null")
    algorithm = config_of(f"algorithm.maxpo.k={k}", weights, f"actor_rollout_ref.rollout.n={n}").algorithm
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


def test_group_size_may_be_absent(caplog: pytest.LogCaptureFixture) -> None:
    algorithm = {"maxpo": {"k": 2}}
    mask = torch.ones(40, 1)
    compute_maxpo_outcome_advantage(mask, mask, np.array(["a"] * 40, dtype=object), algorithm)
    assert not caplog.messages
