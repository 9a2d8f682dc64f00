"""The estimator by itself: options, groups, padding, token-level output."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from verl_maxpo import grouped_max_at_k_advantages
from verl_maxpo.trainer import estimator
from verl_maxpo.trainer.estimator import compute_maxpo_outcome_advantage

LENGTH = 5


def token_level(rewards: list[float]) -> torch.Tensor:
    """Put each reward on the last token, as verl's reward managers do."""
    result = torch.zeros(len(rewards), LENGTH)
    result[:, -1] = torch.tensor(rewards)
    return result


def uids(text: str) -> np.ndarray[Any, Any]:
    return np.array(list(text), dtype=object)


def algorithm(**options: Any) -> Any:
    return OmegaConf.create({"adv_estimator": "maxpo", "maxpo": options})


@pytest.fixture(autouse=True)
def forget_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator, "_warned", set())


REWARDS = [1.0, 0.0, 3.0, 0.5, 0.0, 2.0, 2.0, -1.0]
INDEX = uids("abbaabab")


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("scale_by_k", [True, False])
def test_advantage_is_on_the_response_mask_and_zero_elsewhere(k: int, scale_by_k: bool) -> None:
    mask = torch.tensor(np.random.default_rng(0).integers(0, 2, (len(REWARDS), LENGTH)))
    mask[:, 0] = 1
    advantages, returns = compute_maxpo_outcome_advantage(
        token_level(REWARDS), mask, index=INDEX, config=algorithm(k=k, scale_by_k=scale_by_k)
    )
    per_row = grouped_max_at_k_advantages(REWARDS, INDEX, k) * (1 if scale_by_k else 1 / k)
    for row in range(len(REWARDS)):
        torch.testing.assert_close(advantages[row][mask[row] == 1], per_row[row].expand(int(mask[row].sum())))
        assert (advantages[row][mask[row] == 0] == 0).all()
    assert per_row.count_nonzero() > 0
    assert torch.equal(advantages, returns)
    assert advantages.dtype == torch.float32


def test_reward_counts_even_where_the_mask_is_zero() -> None:
    # verl's multi-turn rollouts mask tool output, and the reward may sit on its last token.
    mask = torch.ones(len(REWARDS), LENGTH)
    masked = mask.clone()
    masked[:, -1] = 0
    everywhere, _ = compute_maxpo_outcome_advantage(token_level(REWARDS), mask, index=INDEX, config=algorithm(k=2))
    inside, _ = compute_maxpo_outcome_advantage(token_level(REWARDS), masked, index=INDEX, config=algorithm(k=2))
    assert torch.equal(inside[:, :-1], everywhere[:, :-1])


def test_padding_rows_get_zeros_and_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    mask = torch.ones(len(REWARDS) + 3, LENGTH)
    mask[-3:] = 0
    index = np.append(INDEX, ["pad0", "pad0", "pad0"])
    padded, _ = compute_maxpo_outcome_advantage(token_level([*REWARDS, 0, 0, 0]), mask, index, algorithm(k=2))
    alone, _ = compute_maxpo_outcome_advantage(token_level(REWARDS), mask[:-3], INDEX, algorithm(k=2))
    assert torch.equal(padded[:-3], alone)
    assert not padded[-3:].any()
    assert not caplog.records  # padding is no undersized group


def test_batch_of_padding_only_is_no_error() -> None:
    zeros = torch.zeros(4, LENGTH)
    advantages, _ = compute_maxpo_outcome_advantage(zeros, zeros, np.array(["pad"] * 4, dtype=object), algorithm(k=8))
    assert not advantages.any()


def test_undersized_groups_get_zeros_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    rewards, index = token_level([1, 0, 0, 2, 5, 1]), uids("aaaabb")
    mask = torch.ones(6, LENGTH)
    for _ in range(3):
        advantages, _ = compute_maxpo_outcome_advantage(rewards, mask, index, algorithm(k=2))
    assert advantages[:4].any()
    assert not advantages[4:].any()
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "1 groups of this batch have fewer than the 3 responses that algorithm.maxpo.k=2 needs" in warning


def test_only_undersized_groups_is_a_configuration_error() -> None:
    with pytest.raises(ValueError, match=r"algorithm\.maxpo\.k=4 needs groups of at least 5 responses, got 4 at most"):
        compute_maxpo_outcome_advantage(token_level(REWARDS), torch.ones(8, LENGTH), INDEX, algorithm(k=4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_rewards_that_are_not_finite_name_the_row(bad: float) -> None:
    rewards = token_level(REWARDS)
    rewards[6, 2] = bad
    with pytest.raises(ValueError, match=r"1 NaN or infinite of 8, at 6"):
        compute_maxpo_outcome_advantage(rewards, torch.ones(8, LENGTH), INDEX, algorithm(k=2))


def test_no_index_is_an_error() -> None:
    with pytest.raises(ValueError, match="uid"):
        compute_maxpo_outcome_advantage(token_level(REWARDS), torch.ones(8, LENGTH), config=algorithm(k=2))


def test_inputs_are_left_alone_and_no_graph_is_kept() -> None:
    rewards, mask = token_level(REWARDS).requires_grad_(), torch.ones(8, LENGTH)
    before = rewards.detach().clone()
    mask[0, 2:] = 0
    mask_before = mask.clone()
    advantages, _ = compute_maxpo_outcome_advantage(rewards, mask, INDEX, algorithm(k=2), reward_baselines=None)
    assert torch.equal(rewards, before)
    assert torch.equal(mask, mask_before)
    assert not advantages.requires_grad


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([None] * 8, ValueError, "every response needs the id of its prompt, got None for row 0"),
        (["a"] * 7 + [None], ValueError, "got None for row 7"),
        ([["a"]] * 8, TypeError, "the id of a prompt must be hashable"),
    ],
)
def test_unusable_prompts(index: list[Any], error: type[Exception], message: str) -> None:
    array = np.empty(8, dtype=object)
    array[:] = index
    with pytest.raises(error, match=message):
        compute_maxpo_outcome_advantage(token_level(REWARDS), torch.ones(8, LENGTH), array, algorithm(k=2))


def test_advantages_that_overflow_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"give results that torch\.float32 cannot hold"):
        compute_maxpo_outcome_advantage(
            token_level([3e38, -3e38, 0, 0]), torch.ones(4, LENGTH), uids("aaaa"), algorithm(k=2)
        )


def test_a_response_without_tokens_does_not_count() -> None:
    mask = torch.ones(len(REWARDS), LENGTH)
    mask[2] = 0
    advantages, _ = compute_maxpo_outcome_advantage(token_level(REWARDS), mask, INDEX, algorithm(k=2))
    kept = [row for row in range(len(REWARDS)) if row != 2]
    expected = grouped_max_at_k_advantages([REWARDS[row] for row in kept], INDEX[kept], 2)
    torch.testing.assert_close(advantages[kept, 0], expected)
    assert not advantages[2].any()
    # A prompt none of whose responses has tokens looks like padding where the trainer does not tell.
    mask[[row for row, uid in enumerate(INDEX) if uid == "b"]] = 0
    compute_maxpo_outcome_advantage(token_level(REWARDS), mask, INDEX, algorithm(k=2))
