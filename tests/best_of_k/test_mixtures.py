"""Weighted sums of max@k for several k, and the one over all of them."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
import torch
from support import reference
from support.policy import EASY, RARE, Policy
from torch.testing import assert_close

from verl_maxpo import grouped_max_at_k_advantages, max_at_k_advantages
from verl_maxpo.best_of_k.baselines import BASELINES

REWARDS = torch.tensor([0.5, -2.0, 3.0, 1.25, 0.0, 3.0], dtype=torch.float64)
MIXTURES: list[tuple[list[int], list[float]]] = [([1, 4], [0.5, 0.5]), ([1, 2, 3], [0.1, 0.2, 0.7]), ([3], [1.0])]

every_mixture = pytest.mark.parametrize(("k", "weights"), MIXTURES)
every_policy = pytest.mark.parametrize("policy", [EASY, RARE], ids=["easy", "rare"])
scaled_or_not = pytest.mark.parametrize("scale_by_k", [False, True])


@every_mixture
@scaled_or_not
@pytest.mark.parametrize("baseline", BASELINES)
def test_a_mixture_is_the_weighted_sum(baseline: str, scale_by_k: bool, k: list[int], weights: list[float]) -> None:
    expected = sum(
        w * (one if scale_by_k else 1) * max_at_k_advantages(REWARDS, one, baseline=baseline, scale_by_k=False)
        for one, w in zip(k, weights, strict=True)
    )
    actual = max_at_k_advantages(REWARDS, k, weights=weights, baseline=baseline, scale_by_k=scale_by_k)
    assert_close(actual, expected, rtol=1e-13, atol=1e-13)


@every_policy
@every_mixture
def test_a_mixture_is_unbiased(k: list[int], weights: list[float], policy: Policy) -> None:
    n = 5
    gradient = policy.gradient(n, lambda g: max_at_k_advantages(g, k, weights=weights) / n)
    expected = sum(w * policy.max_at_k_gradient(one) for one, w in zip(k, weights, strict=True))
    assert_close(gradient, expected, rtol=1e-12, atol=1e-13)


@every_mixture
def test_a_mixture_is_centred_and_has_exact_zeros(k: list[int], weights: list[float]) -> None:
    assert abs(max_at_k_advantages(REWARDS, k, weights=weights).sum().item()) < 1e-13
    assert not max_at_k_advantages(torch.full((6,), 0.1), k, weights=weights).any()


def test_weights_that_are_not_given_are_equal() -> None:
    equal = max_at_k_advantages(REWARDS, [1, 2, 4], weights=[1 / 3] * 3)
    assert_close(max_at_k_advantages(REWARDS, [1, 2, 4]), equal)
    assert_close(max_at_k_advantages(REWARDS, (3,)), max_at_k_advantages(REWARDS, 3))


def test_half_max_at_1_keeps_a_signal_where_max_at_8_has_none() -> None:
    nearly_solved = torch.tensor([1.0] * 9 + [0.0])
    assert not max_at_k_advantages(nearly_solved, 8).any()
    mixed = max_at_k_advantages(nearly_solved, [1, 8])
    assert_close(mixed, max_at_k_advantages(nearly_solved, 1) / 2)
    assert mixed.all()


def test_groups_must_hold_the_largest_k() -> None:
    rewards, groups = torch.arange(9.0), "aaaaabbbb"
    advantages = grouped_max_at_k_advantages(rewards, groups, [1, 4])
    assert torch.equal(advantages[:5], max_at_k_advantages(rewards[:5], [1, 4]))
    assert not advantages[5:].any()
    with pytest.raises(ValueError, match="k=4 with baseline='l2o' needs groups of at least 5 responses, got 4"):
        max_at_k_advantages(rewards[5:], [1, 4])


# k = all


@pytest.mark.parametrize("n", range(2, 9))
def test_all_is_the_sum_over_k_with_weights_1_over_k(n: int) -> None:
    harmonic = sum(Fraction(1, k) for k in range(1, n))
    for rewards in (
        REWARDS[:n].tolist(),
        [0.0] * (n - 1) + [1.0],
        [1.0] * (n - 1) + [0.25],
        [float(i) for i in range(n)],
    ):
        n_rewards = len(rewards)
        of_k = {k: reference.l2o_advantages(rewards, k) for k in range(1, n_rewards)}
        exact = [sum(of_k[k][i] for k in of_k) for i in range(n_rewards)]
        assert_close(max_at_k_advantages(rewards, "all").tolist(), [float(a) for a in exact], rtol=1e-6, atol=1e-6)
        double = torch.tensor(rewards, dtype=torch.float64)
        assert_close(max_at_k_advantages(double, "all").tolist(), [float(a) for a in exact], rtol=1e-13, atol=1e-13)
        if n_rewards == n:
            normalised = [float(sum(of_k[k][i] / k for k in of_k) / harmonic) for i in range(n)]
            plain = max_at_k_advantages(double, "all", scale_by_k=False)
            assert_close(plain.tolist(), normalised, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n", [2, 3, 8, 64, 10**5])
def test_all_is_maxrl_for_rewards_of_0_and_1(n: int) -> None:
    for c in sorted({1, 2, n // 2, n - 1} - {0}):
        rewards = (torch.randperm(n, generator=torch.Generator().manual_seed(c)) < c).double()
        maxrl = torch.where(rewards == 1, rewards * (n - c) / c, -1.0)  # (g - mean)/mean, without its cancellation
        assert_close(max_at_k_advantages(rewards, "all"), maxrl, rtol=1e-13, atol=0)


def test_all_is_maxrl_at_every_threshold_integrated() -> None:
    levels, rewards = REWARDS.unique().tolist(), REWARDS
    expected = torch.zeros_like(rewards)
    for low, high in pairwise(levels):
        above = (rewards > low).double()
        expected += (high - low) * (above - above.mean()) / above.mean()
    assert_close(max_at_k_advantages(rewards, "all"), expected, rtol=1e-13, atol=1e-13)


@every_policy
@pytest.mark.parametrize("n", [2, 4, 6])
def test_all_is_unbiased_for_the_truncated_objective(n: int, policy: Policy) -> None:
    gradient = policy.gradient(n, lambda g: max_at_k_advantages(g, "all") / n)
    expected = sum(policy.max_at_k_gradient(k) / k for k in range(1, n))
    assert_close(gradient, expected, rtol=1e-12, atol=1e-13)


def test_all_goes_by_the_size_of_every_group() -> None:
    rewards, groups = torch.arange(10.0), "abbaccbabb"
    advantages = grouped_max_at_k_advantages(rewards, groups, "all")
    for group in "abc":
        rows = torch.tensor([other == group for other in groups])
        assert torch.equal(advantages[rows], max_at_k_advantages(rewards[rows], "all"))
    assert not grouped_max_at_k_advantages(rewards[:3], "abc", "all").any()  # a lone response has no k


@scaled_or_not
def test_all_is_centred_and_has_exact_zeros(scale_by_k: bool) -> None:
    rewards = torch.randn(3, 10**5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    advantages = max_at_k_advantages(rewards, "all", scale_by_k=scale_by_k)
    assert (advantages.sum(dim=-1).abs() < 1e-12 * advantages.abs().sum(dim=-1)).all()
    for equal in (0.0, 0.1, -7.3):
        assert not max_at_k_advantages(torch.full((9,), equal), "all", scale_by_k=scale_by_k).any()
    assert max_at_k_advantages([1.0] * 9 + [0.0], "all").all()  # solved too often for k = 8, but not lost


@scaled_or_not
def test_std_of_all_draws_k_with_the_weights(scale_by_k: bool) -> None:
    n = len(REWARDS)
    harmonic = sum(1 / k for k in range(1, n))
    weights = [1 / (k * harmonic) for k in range(1, n)]
    factor = harmonic if scale_by_k else 1.0  # with the factor k the weights are not normalised
    expected = factor * max_at_k_advantages(
        REWARDS, list(range(1, n)), weights=weights, normalize="std", scale_by_k=scale_by_k
    )
    actual = max_at_k_advantages(REWARDS, "all", normalize="std", scale_by_k=scale_by_k)
    assert_close(actual, expected, rtol=1e-13, atol=1e-13)


def test_gradcheck_of_all() -> None:
    rewards = torch.tensor([[0.3, -1.0, 2.0, 0.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: max_at_k_advantages(g, "all"), rewards)


# Errors


WANTED = "weights must be 2 non-negative numbers that sum to 1, one for each k of [1, 4], got "
BAD_WEIGHTS: list[tuple[Any, str]] = [
    ([], "[]"),
    ([1.0], "[1.0]"),
    ([0.5, 0.25, 0.25], "[0.5, 0.25, 0.25]"),
    ([0.5, 0.6], "[0.5, 0.6], which sum to 1.1"),
    ([1, 8], "[1.0, 8.0], which sum to 9"),
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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": []}, ValueError, "k must be an integer, some integers or 'all', got []"),
        ({"k": [1, 0]}, ValueError, "k must be at least 1, got 0"),
        ({"k": [1, 2.5]}, TypeError, "k must be an integer, got 2.5"),
        ({"k": [1, True]}, TypeError, "k must be an integer, got True"),
        ({"k": "8"}, TypeError, "k must be an integer, some integers or 'all', got '8'"),
        ({"k": "all", "weights": [1.0]}, ValueError, "weights must be null with k='all', whose weights are 1/k, got"),
        ({"k": "all", "baseline": "loo"}, ValueError, "baseline must be 'l2o' with k='all', got 'loo'"),
    ],
)
def test_unusable_k(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        max_at_k_advantages(REWARDS, **options)
