"""Weighted sums of max@k for several k."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from support.policy import EASY, RARE, Policy
from support.verl_runs import batch, composed
from torch.testing import assert_close
from verl.trainer.ppo.ray_trainer import compute_advantage

from verl_maxpo import grouped_max_at_k_advantages, max_at_k_advantages
from verl_maxpo.best_of_k.baselines import BASELINES
from verl_maxpo.trainer.estimator import MaxPOConfig

REWARDS = torch.tensor([0.5, -2.0, 3.0, 1.25, 0.0, 3.0], dtype=torch.float64)
MIXTURES: list[tuple[list[int], list[float]]] = [([1, 4], [0.5, 0.5]), ([1, 2, 3], [0.1, 0.2, 0.7]), ([3], [1.0])]


@pytest.mark.parametrize(("k", "weights"), MIXTURES)
@pytest.mark.parametrize("scale_by_k", [False, True])
@pytest.mark.parametrize("baseline", [name for name in BASELINES if name != "adaptive"])
def test_a_mixture_is_the_weighted_sum(baseline: str, scale_by_k: bool, k: list[int], weights: list[float]) -> None:
    expected = sum(
        w * (one if scale_by_k else 1) * max_at_k_advantages(REWARDS, one, baseline=baseline)
        for one, w in zip(k, weights, strict=True)
    )
    actual = max_at_k_advantages(REWARDS, k, weights=weights, baseline=baseline, scale_by_k=scale_by_k)
    assert_close(actual, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("policy", [EASY, RARE], ids=["easy", "rare"])
@pytest.mark.parametrize(("k", "weights"), MIXTURES)
@pytest.mark.parametrize("baseline", ["l2o", "loo_minus_one"])
def test_a_mixture_is_unbiased(baseline: str, k: list[int], weights: list[float], policy: Policy) -> None:
    n = 5
    gradient = policy.gradient(
        n, lambda g: max_at_k_advantages(g, k, weights=weights, baseline=baseline, scale_by_k=True) / n
    )
    expected = sum(w * policy.max_at_k_gradient(one) for one, w in zip(k, weights, strict=True))
    assert_close(gradient, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("k", "weights"), MIXTURES)
def test_a_mixture_is_centred_and_has_exact_zeros(k: list[int], weights: list[float]) -> None:
    assert abs(max_at_k_advantages(REWARDS, k, weights=weights, scale_by_k=True).sum().item()) < 1e-14
    assert not max_at_k_advantages(torch.full((6,), 0.1), k, weights=weights).any()


def test_half_max_at_1_keeps_a_signal_where_max_at_8_has_none() -> None:
    nearly_solved = torch.tensor([1.0] * 9 + [0.0])
    assert not max_at_k_advantages(nearly_solved, 8).any()
    mixed = max_at_k_advantages(nearly_solved, [1, 8], weights=[0.5, 0.5])
    assert_close(mixed, max_at_k_advantages(nearly_solved, 1) / 2)
    assert mixed.all()


def test_a_tuple_is_as_good_as_a_list_and_one_k_as_an_integer() -> None:
    assert torch.equal(max_at_k_advantages(REWARDS, (3,)), max_at_k_advantages(REWARDS, 3))
    mixed = max_at_k_advantages(REWARDS, (1, 4), weights=(0.5, 0.5))
    assert torch.equal(mixed, max_at_k_advantages(REWARDS, [1, 4], weights=[0.5, 0.5]))


def test_groups_must_hold_the_largest_k() -> None:
    rewards, groups = torch.arange(9.0), "aaaaabbbb"
    advantages = grouped_max_at_k_advantages(rewards, groups, [1, 4], weights=[0.5, 0.5])
    assert torch.equal(advantages[:5], max_at_k_advantages(rewards[:5], [1, 4], weights=[0.5, 0.5]))
    assert not advantages[5:].any()
    with pytest.raises(ValueError, match=r"k must be in 1\.\.3 for groups of 4, got 4"):
        max_at_k_advantages(rewards[5:], [1, 4], weights=[0.5, 0.5])


WANTED = "weights must be 2 non-negative numbers that sum to 1, one for each k of [1, 4], got "
BAD_WEIGHTS: list[tuple[Any, str]] = [
    (None, "None"),
    ([], "[]"),
    ([1.0], "[1.0]"),
    ([0.5, 0.25, 0.25], "[0.5, 0.25, 0.25]"),
    ([0.5, 0.6], "[0.5, 0.6], which sum to 1.1"),
    ([1, 8], "[1, 8], which sum to 9"),
    ([-0.5, 1.5], "[-0.5, 1.5], which sum to 1"),
    ([float("nan"), 1.0], "[nan, 1.0], which sum to nan"),
    ([float("inf"), 0.0], "[inf, 0.0], which sum to inf"),
    (["a", "b"], "['a', 'b']"),
    (0.5, "0.5"),
]


@pytest.mark.parametrize(("weights", "got"), BAD_WEIGHTS)
def test_unusable_weights(weights: Any, got: str) -> None:
    with pytest.raises(ValueError, match=re.escape(WANTED + got) + "$"):
        max_at_k_advantages(REWARDS, [1, 4], weights=weights)
    with pytest.raises(ValueError, match=r"^algorithm\.maxpo\.weights must be 2"):
        MaxPOConfig.from_algorithm({"maxpo": {"k": [1, 4], "weights": weights}})


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        ([], ValueError, "k must be an integer or some integers, got []"),
        ([1, 0], ValueError, "k must be in 1..5 for groups of 6, got 0"),
        ([1, 2.5], TypeError, "k must be an integer, got 2.5"),
        ([1, True], TypeError, "k must be an integer, got True"),
        ("8", TypeError, "k must be an integer, got '8'"),
    ],
)
def test_unusable_k(k: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        max_at_k_advantages(REWARDS, k, weights=[0.5, 0.5])


@pytest.mark.parametrize("baseline", BASELINES)
def test_through_verl(baseline: str) -> None:
    overrides = ["algorithm.maxpo.k=[1,4]", "algorithm.maxpo.weights=[0.25,0.75]"]
    config = composed("maxpo_trainer", *overrides, f"algorithm.maxpo.baseline={baseline}").algorithm
    data = compute_advantage(batch(), adv_estimator="maxpo", config=config)
    rewards = data.batch["token_level_rewards"].sum(-1)
    expected = grouped_max_at_k_advantages(
        rewards, data.non_tensor_batch["uid"], [1, 4], weights=[0.25, 0.75], baseline=baseline, scale_by_k=True
    )
    assert_close(data.batch["advantages"], expected[:, None] * data.batch["response_mask"])
    assert expected.any()


def test_options_with_lists_are_hashable() -> None:
    options = MaxPOConfig.from_algorithm({"maxpo": {"k": [1, 8], "weights": [0.5, 0.5]}})
    assert options.k == (1, 8)
    assert {options: 1}[MaxPOConfig(k=(1, 8), weights=(0.5, 0.5))] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "rloo"}, r"algorithm\.maxpo\.baseline must be one of \['adaptive', .*\], got 'rloo'"),
        ({"baseline": ["l2o"]}, r"algorithm\.maxpo\.baseline must be one of"),
        ({"normalize": "var"}, r"algorithm\.maxpo\.normalize must be null or 'std', got 'var'"),
        ({"group_size": 0}, r"algorithm\.maxpo\.group_size must be null or at least 1, got 0"),
        ({"group_size": True}, r"algorithm\.maxpo\.group_size must be null or at least 1, got True"),
        ({"group_size": "8"}, r"algorithm\.maxpo\.group_size must be null or at least 1, got '8'"),
    ],
)
def test_unusable_options_name_the_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaxPOConfig.from_algorithm({"maxpo": {"k": 2, **options}})
