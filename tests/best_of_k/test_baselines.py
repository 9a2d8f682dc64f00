"""The table of baselines in best_of_k/baselines.py, property by property, against the code that it describes."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from support import reference
from support.policy import EASY, RARE, Policy
from torch import Tensor
from torch.testing import assert_close

from verl_maxpo import grouped_max_at_k_advantages, max_at_k, max_at_k_advantages
from verl_maxpo.best_of_k.baselines import BASELINES

REWARDS = {
    "distinct": [0.5, -2.0, 3.0, 1.25, 0.0, 7.0],
    "tied": [1.0, 0.0, 1.0, 0.0, 0.0, 2.0],
    "zero_one": [0.0, 1.0, 0.0, 0.0, 1.0, 0.0],
    "equal": [0.75] * 6,
    "negative": [-3.0, -1.0, -1.0, -2.0, -8.0, -0.5],
}

DEFINITION = {
    "l2o": lambda g, i, k: reference.include_one(g, i, k) - reference.leave_one_out(g, i, k),
    "loo_minus_one": lambda g, i, k: reference.include_one(g, i, k) - reference.leave_one_out(g, i, k - 1),
    "loo": lambda g, i, k: (
        reference.include_one(g, i, k) - Fraction(len(g), len(g) - 1) * reference.leave_one_out(g, i, k)
    ),
    "none": reference.include_one,
    "group_mean": lambda g, i, k: reference.include_one(g, i, k) - reference.max_at_k(g, k),
}

every_baseline = pytest.mark.parametrize("name", BASELINES)


def rewards_of(n: int, kind: str) -> Tensor:
    return torch.tensor(REWARDS[kind][:n], dtype=torch.float64)


def sizes_of(name: str, largest: int = 6) -> list[tuple[int, int]]:
    """Every group size n up to ``largest`` with every k that the baseline has an advantage for."""
    return [(n, k) for n in range(1, largest + 1) for k in range(1, n + 1 - BASELINES[name].spare)]


@pytest.mark.parametrize("kind", REWARDS)
@every_baseline
def test_advantage_is_the_definition(name: str, kind: str) -> None:
    for n, k in sizes_of(name):
        exact = [k * float(DEFINITION[name](REWARDS[kind][:n], i, k)) for i in range(n)]
        actual = max_at_k_advantages(rewards_of(n, kind), k, baseline=name)
        assert_close(actual, torch.tensor(exact, dtype=torch.float64), rtol=1e-13, atol=1e-13)


GRADIENT = {"unbiased": lambda n, k: 1.0, "(n-k)/n of it": lambda n, k: (n - k) / n}


@pytest.mark.parametrize("policy", [EASY, RARE], ids=["easy", "rare"])
@every_baseline
def test_expected_gradient(name: str, policy: Policy) -> None:
    for n, k in sizes_of(name, largest=5):
        gradient = policy.gradient(n, lambda rewards, k=k, n=n: max_at_k_advantages(rewards, k, baseline=name) / n)
        expected = GRADIENT[BASELINES[name].gradient](n, k) * policy.max_at_k_gradient(k)
        assert_close(gradient, expected, rtol=1e-12, atol=1e-13)
        assert policy.max_at_k_gradient(k).abs().max() > 0.01


@every_baseline
def test_centred(name: str) -> None:
    sizes = [(n, k) for n, k in sizes_of(name) if k > 1]
    sums = [max_at_k_advantages(rewards_of(n, kind), k, baseline=name).sum().abs().item()
            for n, k in sizes for kind in REWARDS]  # fmt: skip
    assert max(sums) < 1e-13 if BASELINES[name].centred else max(sums) > 0.1


@every_baseline
def test_shift_invariance(name: str) -> None:
    sizes = [(n, k) for n, k in sizes_of(name) if k > 1]
    moved = [
        (max_at_k_advantages(rewards_of(n, kind) + 64, k, baseline=name)
         - max_at_k_advantages(rewards_of(n, kind), k, baseline=name)).abs().max().item()
        for n, k in sizes for kind in REWARDS
    ]  # fmt: skip
    assert max(moved) == 0 if BASELINES[name].shift_invariant else max(moved) > 1


@pytest.mark.parametrize("k", [2, 3, 5])
@every_baseline
def test_equal_rewards_give_exact_zeros_where_a_constant_does_not_matter(name: str, k: int) -> None:
    advantages = max_at_k_advantages(torch.full((6,), 0.1), k, baseline=name)
    assert (advantages.count_nonzero() == 0) == BASELINES[name].shift_invariant


@pytest.mark.parametrize("k", [1, 2, 4])
@every_baseline
def test_smallest_group(name: str, k: int) -> None:
    smallest = k + BASELINES[name].spare
    rewards = rewards_of(smallest, "distinct")
    assert max_at_k_advantages(rewards, k, baseline=name).shape == (smallest,)
    if smallest > 1:
        message = f"k={k} with baseline={name!r} needs groups of at least {smallest} responses, got {smallest - 1}"
        with pytest.raises(ValueError, match=re.escape(message)):
            max_at_k_advantages(rewards[1:], k, baseline=name)
    # In a batch, smaller groups get zeros and leave the others alone.
    together = grouped_max_at_k_advantages(
        torch.cat([rewards, rewards[1:]]), [0] * smallest + [1] * (smallest - 1), k, baseline=name
    )
    assert torch.equal(together[:smallest], max_at_k_advantages(rewards, k, baseline=name))
    assert not together[smallest:].any()


def others_mean(rewards: Tensor) -> Tensor:
    return (rewards.sum() - rewards) / (len(rewards) - 1)


AT_K_1 = {
    "RLOO": lambda g: g - others_mean(g),
    "the reward (M_0 = 0; not shift-invariant there)": lambda g: g,
    "the reward minus n/(n-1) times the mean of the others": lambda g: g - len(g) / (len(g) - 1) * others_mean(g),
    "the reward": lambda g: g,
    "the reward minus the group's mean": lambda g: g - g.mean(),
}


@pytest.mark.parametrize("n", [2, 6])
@every_baseline
def test_k_of_one(name: str, n: int) -> None:
    for kind in REWARDS:
        rewards = rewards_of(n, kind)
        expected = AT_K_1[BASELINES[name].at_k_1](rewards)
        assert_close(max_at_k_advantages(rewards, 1, baseline=name), expected, rtol=1e-13, atol=1e-13)


def best_minus_second(rewards: Tensor) -> Tensor:
    second, best = rewards.sort().values[-2:]
    return torch.where(rewards == best, best - second, 0.0)


AT_K_N = {
    "best minus second best, others 0": best_minus_second,
    "the best reward, for all": lambda g: g.max().expand_as(g),
    "0": torch.zeros_like,
}


@pytest.mark.parametrize("n", [2, 6])
@every_baseline
def test_k_of_n(name: str, n: int) -> None:
    rewards = rewards_of(n, "tied")
    if BASELINES[name].at_k_n == "not defined":
        with pytest.raises(ValueError, match=f"needs groups of at least {n + 1} responses, got {n}"):
            max_at_k_advantages(rewards, n, baseline=name)
    else:
        expected = n * AT_K_N[BASELINES[name].at_k_n](rewards)
        assert_close(max_at_k_advantages(rewards, n, baseline=name), expected, rtol=1e-14, atol=1e-14)


def test_loo_minus_one_is_never_negative() -> None:
    rewards = torch.randn(200, 9, generator=torch.Generator().manual_seed(0))
    assert all((max_at_k_advantages(rewards, k, baseline="loo_minus_one") >= 0).all() for k in range(2, 10))


@pytest.mark.parametrize(("n", "k"), [(1000, 16), (5000, 4999), (2**17, 64)])
def test_sums_of_large_groups(n: int, k: int) -> None:
    rewards = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = max_at_k(rewards, k).item()
    expected = {"l2o": 0.0, "group_mean": 0.0, "none": n * value, "loo": -n * value / (n - 1)}
    for name, total in expected.items():
        advantages = max_at_k_advantages(rewards, k, baseline=name, scale_by_k=False)
        assert math.fsum(advantages.tolist()) == pytest.approx(total, rel=1e-9, abs=1e-12 * n * value)


@every_baseline
def test_gradcheck(name: str) -> None:
    rewards = torch.tensor([[0.3, -1.0, 2.0, 0.9], [1.0, 0.2, -0.4, 5.0]], dtype=torch.float64, requires_grad=True)
    for options in ({"k": 2}, {"k": 2, "normalize": "std"}, {"k": [1, 3], "weights": [0.2, 0.8]}):
        assert torch.autograd.gradcheck(
            lambda g, options=options: max_at_k_advantages(g, baseline=name, **options), rewards
        )


# normalize="std"


def subset_std(rewards: list[float], k: int) -> float:
    best = torch.tensor([max(subset) for subset in combinations(rewards, k)], dtype=torch.float64)
    return best.std(correction=0).item()


@pytest.mark.parametrize("kind", [kind for kind in REWARDS if kind != "equal"])
@pytest.mark.parametrize(("n", "k"), [(4, 2), (6, 1), (6, 3), (6, 5)])
@every_baseline
def test_std_is_that_of_the_best_of_all_subsets(name: str, n: int, k: int, kind: str) -> None:
    rewards = rewards_of(n, kind)
    std = subset_std(rewards.tolist(), k)
    plain = max_at_k_advantages(rewards, k, baseline=name)
    expected = plain / std if std else torch.zeros_like(plain)
    assert_close(max_at_k_advantages(rewards, k, baseline=name, normalize="std"), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4, 8])
@pytest.mark.parametrize("c", range(9))
def test_group_mean_with_std_is_pass_at_k_training(c: int, k: int) -> None:
    # arXiv:2508.10751, its closed form for 0/1 rewards, without the epsilon in the denominator.
    n = 8
    mean = 1 - math.comb(n - c, k) / math.comb(n, k)
    std = math.sqrt(mean * (1 - mean))
    positive = (1 - mean) / std if std else 0.0
    negative = (1 - mean - math.comb(n - c - 1, k - 1) / math.comb(n - 1, k - 1)) / std if std and c < n else 0.0
    rewards = torch.tensor([1.0] * c + [0.0] * (n - c), dtype=torch.float64)
    expected = torch.tensor([positive] * c + [negative] * (n - c), dtype=torch.float64)
    actual = max_at_k_advantages(rewards, k, baseline="group_mean", normalize="std", scale_by_k=False)
    assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    assert std > 0 or not actual.any()


@pytest.mark.parametrize("factor", [2.0**-600, 2.0**-30, 2.0**100])
def test_std_cancels_a_factor_however_small(factor: float) -> None:
    rewards = rewards_of(6, "distinct")
    expected = max_at_k_advantages(rewards, 3, normalize="std")
    assert torch.equal(max_at_k_advantages(factor * rewards, 3, normalize="std"), expected)


@every_baseline
def test_std_of_zero_gives_zeros(name: str) -> None:
    for rewards in ([0.1] * 6, [0.0, 0.3, 0.3, 0.3, 0.3, 0.3]):
        assert not max_at_k_advantages(torch.tensor(rewards), 2, baseline=name, normalize="std").any()


def test_std_of_a_mixture_draws_the_size_of_the_subset() -> None:
    rewards = rewards_of(6, "distinct")
    values = {k: [max(s) for s in combinations(rewards.tolist(), k)] for k in (1, 4)}
    moments = [0.25 * torch.tensor(values[1]).double().pow(p).mean() + 0.75 * torch.tensor(values[4]).double().pow(p)
               .mean() for p in (1, 2)]  # fmt: skip
    std = (moments[1] - moments[0] ** 2).sqrt()
    options = {"k": [1, 4], "weights": [0.25, 0.75]}
    assert_close(
        max_at_k_advantages(rewards, **options, normalize="std"), max_at_k_advantages(rewards, **options) / std
    )


def test_std_is_biased() -> None:
    """Not even the direction is right, where there are more than two responses."""
    n, k = 4, 2
    gradient = EASY.gradient(n, lambda g: max_at_k_advantages(g, k, baseline="group_mean", normalize="std"))
    cosine = torch.nn.functional.cosine_similarity(gradient, EASY.max_at_k_gradient(k), dim=0)
    assert 0.5 < cosine < 0.9999


@pytest.mark.parametrize("normalize", ["STD", "mean", True, ""])
def test_unknown_normalisation(normalize: object) -> None:
    with pytest.raises(ValueError, match=f"normalize must be null or 'std', got {normalize!r}"):
        max_at_k_advantages(torch.zeros(4), 2, normalize=normalize)  # type: ignore[arg-type]
