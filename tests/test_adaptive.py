"""baseline="adaptive": one weight for each group's baseline, from the other groups of the batch."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from policy import EASY, RARE, Policy
from torch import Tensor
from torch.testing import assert_close

from verl_maxpo import grouped_max_at_k_advantages, max_at_k_advantages

sys.path.insert(0, str(Path(__file__).with_name("benchmarks")))
from adaptive_baseline import SIZES, Group

ADAPTIVE = {"baseline": "adaptive"}


def random_rewards(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_weight_minimises_the_mean_square_of_the_other_groups(k: int) -> None:
    rewards = random_rewards(5, 4)
    score = max_at_k_advantages(rewards, k, baseline="loo_minus_one")
    baseline = score - max_at_k_advantages(rewards, k)
    for group, actual in enumerate(max_at_k_advantages(rewards, k, **ADAPTIVE)):
        others = [other for other in range(5) if other != group]
        solution = torch.linalg.lstsq(baseline[others].reshape(-1, 1), score[others].reshape(-1, 1)).solution
        assert_close(actual, score[group] - solution.item() * baseline[group])


def expected_gradients(policies: list[Policy], n: int, options: dict[str, object]) -> list[Tensor]:
    """E[(1/n) sum_i A_i grad log pi(x_i)] of each prompt, over every joint batch of all prompts."""
    everything = [policy.batches(n) for policy in policies]
    gradients = [torch.zeros_like(policy.reward) for policy in policies]
    for rows in product(*(range(len(likelihood)) for _, likelihood in everything)):
        responses = [all_responses[row] for (all_responses, _), row in zip(everything, rows, strict=True)]
        likelihood = torch.stack([each[row] for (_, each), row in zip(everything, rows, strict=True)]).prod()
        rewards = torch.stack([policy.reward[x] for policy, x in zip(policies, responses, strict=True)])
        advantages = max_at_k_advantages(rewards, baseline="adaptive", **options)  # type: ignore[arg-type]
        for total, policy, x, own in zip(gradients, policies, responses, advantages, strict=True):
            total += policy.gradient_of(x, likelihood * own / n)
    return gradients


HALF = Policy(torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([-1.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("policies", "n", "options", "objective"),
    [
        ([EASY, RARE], 3, {"k": 2, "scale_by_k": True}, {2: 1.0}),
        ([RARE, HALF, RARE], 3, {"k": 2, "scale_by_k": True}, {2: 1.0}),
        ([RARE, HALF], 4, {"k": 3, "scale_by_k": True}, {3: 1.0}),
        ([EASY, HALF], 3, {"k": [1, 2], "weights": [0.25, 0.75], "scale_by_k": True}, {1: 0.25, 2: 0.75}),
    ],
    ids=["two groups", "three groups", "four responses", "mixture"],
)
def test_unbiased_over_all_batches_of_several_groups(
    policies: list[Policy], n: int, options: dict[str, object], objective: dict[int, float]
) -> None:
    for policy, gradient in zip(policies, expected_gradients(policies, n, options), strict=True):
        expected = sum(weight * policy.max_at_k_gradient(k) for k, weight in objective.items())
        assert_close(gradient, expected, rtol=1e-12, atol=1e-13)


def test_a_weight_from_the_own_group_would_be_biased() -> None:
    # What the leave-one-group-out is for, and that the test above would notice.
    n, k = 3, 2

    def coefficients(rewards: Tensor) -> Tensor:
        score = max_at_k_advantages(rewards, k, baseline="loo_minus_one")
        baseline = score - max_at_k_advantages(rewards, k)
        weight = (score * baseline).sum(-1, keepdim=True) / (baseline**2).sum(-1, keepdim=True).clamp(min=1e-30)
        return k * (score - weight * baseline) / n

    gap = EASY.gradient(n, coefficients) - EASY.max_at_k_gradient(k)
    assert gap.abs().max() > 0.01


def test_without_other_groups_with_a_signal_it_is_l2o() -> None:
    rewards = random_rewards(6)
    assert torch.equal(max_at_k_advantages(rewards, 3, **ADAPTIVE), max_at_k_advantages(rewards, 3))
    silent = torch.tensor([[0.0] * 6, [0.3] * 6, [0.0, 0.1, 0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    together = max_at_k_advantages(torch.cat([rewards[None], silent]), 3, **ADAPTIVE)
    assert torch.equal(together[0], max_at_k_advantages(rewards, 3))
    assert not together[1:].any()


def test_a_far_larger_group_leaves_no_rounding_error_behind() -> None:
    rewards = torch.cat([random_rewards(1, 6) * 1e30, torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 9.0]] * 2)])
    alone = max_at_k_advantages(rewards[1:], 3, **ADAPTIVE)
    swapped = max_at_k_advantages(rewards, 3, **ADAPTIVE)[0]
    score = max_at_k_advantages(rewards[0], 3, baseline="loo_minus_one")
    weight_of_alone = (alone[0] - max_at_k_advantages(rewards[1], 3, baseline="loo_minus_one"))[-1] / (
        max_at_k_advantages(rewards[1], 3) - max_at_k_advantages(rewards[1], 3, baseline="loo_minus_one")
    )[-1]
    assert_close(swapped, score + weight_of_alone * (max_at_k_advantages(rewards[0], 3) - score))


def test_groups_of_several_sizes_share_the_weight() -> None:
    layout = "aaaaabbbbbbcccccdddee"
    rewards = random_rewards(len(layout))
    actual = grouped_max_at_k_advantages(rewards, layout, 3, **ADAPTIVE)
    score = grouped_max_at_k_advantages(rewards, layout, 3, baseline="loo_minus_one")
    l2o = grouped_max_at_k_advantages(rewards, layout, 3)
    large = torch.tensor([group in "abc" for group in layout])  # d has 3 responses: only loo_minus_one has advantages
    assert not actual[~large].any()
    assert score[~large].any()
    for group in "abc":
        own = torch.tensor([other == group for other in layout])
        s, b = score[large & ~own], (score - l2o)[large & ~own]
        weight = (s @ b) / (b @ b)
        assert_close(actual[own], (score - weight * (score - l2o))[own])


def test_dtype_and_batch_dimensions() -> None:
    rewards = random_rewards(2, 3, 5)
    actual = max_at_k_advantages(rewards.float(), 2, **ADAPTIVE)
    assert actual.dtype == torch.float32
    flat = max_at_k_advantages(rewards.float().view(6, 5), 2, **ADAPTIVE)
    assert torch.equal(actual, flat.view(2, 3, 5))


@pytest.mark.parametrize(("n", "k"), SIZES)
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
def test_never_much_worse_than_the_better_of_the_two(n: int, k: int, p: float) -> None:
    group = Group.of(n, k, (p,))
    weights = group.estimated_weights(groups=64, batches=400)
    adaptive = group.mean_square(weights.mean(), weights.square().mean())
    l2o, loo_minus_one = group.mean_square(1.0), group.mean_square(0.0)
    assert adaptive < 1.01 * min(l2o, loo_minus_one)
    if p == 0.02:
        assert adaptive < 0.97 * l2o  # rare successes are where l2o loses
    if p == 0.5:
        assert adaptive < 0.97 * loo_minus_one
