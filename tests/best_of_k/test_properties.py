"""What holds for every group, on groups that hypothesis chooses."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference
from torch import Tensor

from verl_maxpo import grouped_max_at_k_advantages, max_at_k, max_at_k_advantages, pass_at_k

bounded = settings(max_examples=100, deadline=None, derandomize=True)
TINY = 1e-300  # what products with weights may lose to underflow

WHOLE = st.integers(-3, 3).map(float)  # many ties; sums and differences are exact
REAL = st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def groups(draw, rewards=WHOLE | REAL, spare=1, largest=7):
    """The rewards of one group and a k that leaves ``spare`` samples out."""
    values = draw(st.lists(rewards, min_size=1 + spare, max_size=largest))
    return torch.tensor(values, dtype=torch.float64), draw(st.integers(1, len(values) - spare))


@st.composite
def successes(draw, largest=200):
    """N, c and k of pass@k."""
    n = draw(st.integers(1, largest))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


def spread(rewards: Tensor) -> float:
    return (rewards.max() - rewards.min()).item()


def near(expected: Fraction | float, scale: float):
    return pytest.approx(float(expected), rel=0, abs=1e-13 * scale + TINY)


@bounded
@given(groups(spare=0))
def test_max_at_k_agrees_with_enumeration(group):
    rewards, k = group
    assert max_at_k(rewards, k).item() == near(reference.max_at_k(rewards.tolist(), k), rewards.abs().max().item())


@bounded
@given(groups())
def test_advantages_agree_with_enumeration(group):
    rewards, k = group
    expected = [k * value for value in reference.l2o_advantages(rewards.tolist(), k)]
    actual = max_at_k_advantages(rewards, k).tolist()
    assert actual == [near(value, k * spread(rewards)) for value in expected]


@bounded
@given(groups(largest=40))
def test_advantages_are_centred(group):
    rewards, k = group
    assert math.fsum(max_at_k_advantages(rewards, k).tolist()) == near(0, k * len(rewards) * spread(rewards))


@bounded
@given(groups(rewards=WHOLE, largest=40), st.integers(-(2**45), 2**45))
def test_a_constant_changes_no_bit(group, constant):
    rewards, k = group
    assert torch.equal(max_at_k_advantages(rewards + constant, k), max_at_k_advantages(rewards, k))


@bounded
@given(groups(rewards=WHOLE, largest=40), st.integers(-900, 900))
def test_a_power_of_two_scales_every_bit(group, exponent):
    rewards, k = group
    factor = 2.0**exponent
    assert torch.equal(max_at_k_advantages(factor * rewards, k), factor * max_at_k_advantages(rewards, k))
    assert torch.equal(max_at_k(factor * rewards, k), factor * max_at_k(rewards, k))


@bounded
@given(groups(largest=40), st.floats(1e-6, 1e6))
def test_a_positive_factor_scales(group, factor):
    rewards, k = group
    actual = max_at_k_advantages(factor * rewards, k).tolist()
    # Products round at the size of the rewards, which may be far above that of their differences.
    scale = factor * k * len(rewards) * rewards.abs().max().item()
    assert actual == [near(factor * value, scale) for value in max_at_k_advantages(rewards, k).tolist()]


@bounded
@given(groups(largest=40), st.randoms(use_true_random=False))
def test_a_permutation_moves_the_same_bits(group, random):
    rewards, k = group
    permutation = random.sample(range(len(rewards)), len(rewards))
    assert torch.equal(max_at_k_advantages(rewards[permutation], k), max_at_k_advantages(rewards, k)[permutation])
    assert torch.equal(max_at_k(rewards[permutation], k), max_at_k(rewards, k))


@bounded
@given(groups(largest=40))
def test_a_better_sample_never_gets_less_and_an_equal_one_the_same(group):
    # From rank r to r + 1 the exact advantage grows by k n/(n-k) rho_r d_r, which is not negative; as rounding is
    # monotone, so are the two cumulative sums and their total.
    rewards, k = group
    ranked, order = rewards.sort()
    growth = max_at_k_advantages(rewards, k)[order].diff()
    assert (growth >= 0).all()
    assert (growth[ranked.diff() == 0] == 0).all()


@bounded
@given(groups(), st.data())
def test_a_higher_reward_never_lowers_max_at_k_nor_its_own_advantage(group, data):
    # A_i = q_i - M_k(S-i): M_k does not know sample i, and q_i and V_k are means of maxima.
    rewards, k = group
    i = data.draw(st.integers(0, len(rewards) - 1))
    raised = rewards.clone()
    raised[i] += data.draw(st.floats(0, 1e6))
    slack = k * 1e-12 * max(rewards.abs().max().item(), raised.abs().max().item()) + TINY
    assert max_at_k_advantages(raised, k)[i] >= max_at_k_advantages(rewards, k)[i] - slack
    assert max_at_k(raised, k) >= max_at_k(rewards, k) - slack


@bounded
@given(groups(rewards=WHOLE, largest=12))
def test_a_group_is_all_zeros_exactly_if_every_subset_holds_a_best_sample(group):
    rewards, k = group
    best = (rewards == rewards.max()).sum().item()
    assert (max_at_k_advantages(rewards, k) == 0).all() == (best > len(rewards) - k)


@bounded
@given(groups(spare=0, largest=40))
def test_max_at_k_grows_with_k_from_the_mean_to_the_maximum(group):
    rewards, _ = group
    values = torch.stack([max_at_k(rewards, k) for k in range(1, len(rewards) + 1)])
    size = rewards.abs().max().item()
    assert (values.diff() >= -1e-13 * size - TINY).all()
    assert values[0].item() == near(rewards.mean().item(), size)
    assert values[-1].item() == near(rewards.max().item(), size)


@bounded
@given(st.lists(st.tuples(st.sampled_from("abcd"), WHOLE | REAL), max_size=24), st.integers(1, 5), st.data())
def test_groups_are_independent_of_their_order_and_of_each_other(rows, k, data):
    rows = data.draw(st.permutations(rows))
    ids = [group_id for group_id, _ in rows]
    rewards = torch.tensor([reward for _, reward in rows], dtype=torch.float64)
    advantages = grouped_max_at_k_advantages(rewards, ids, k)
    for group in set(ids):
        members = torch.tensor([group_id == group for group_id in ids])
        has_advantage = members.sum() > k
        alone = max_at_k_advantages(rewards[members], k) if has_advantage else torch.zeros_like(rewards[members])
        assert torch.equal(advantages[members], alone)


@bounded
@given(successes())
def test_pass_at_k_agrees_with_the_binomials(counts):
    n, c, k = counts
    exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-14, abs=0)


@bounded
@given(successes())
def test_pass_at_k_is_a_probability_that_grows_with_successes_and_with_k(counts):
    n, c, k = counts
    value = pass_at_k(n, c, k)
    slack = 1 - 1e-14
    assert 0 <= value <= 1
    assert pass_at_k(n, min(c + 1, n), k) >= slack * value
    assert pass_at_k(n, c, min(k + 1, n)) >= slack * value
