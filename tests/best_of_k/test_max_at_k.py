"""max_at_k and max_at_k_advantages against enumeration, theory and hostile inputs."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from support import reference
from torch import Tensor
from torch.testing import assert_close

from verl_maxpo import max_at_k, max_at_k_advantages

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64]
# Every group size up to 8 with every valid k: for max_at_k, and for the advantages.
SIZES = [(n, k) for n in range(1, 9) for k in range(1, n + 1)]
L2O_SIZES = [(n, k) for n, k in SIZES if k < n]
LARGE = 2**20


def shuffled(n: int, seed: int = 0) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def tied(n: int) -> Tensor:
    """Half as many different rewards as samples, in any order."""
    return normal(n)[torch.arange(n) // 2][shuffled(n)]


def zero_one(n: int, successes: int) -> Tensor:
    return (shuffled(n) < successes).double()


# Unsorted rewards of n samples.
REWARDS = {
    "distinct": normal,
    "tied": tied,
    "negative": lambda n: -1.5 - normal(n).abs(),
    "zero_one": lambda n: zero_one(n, (n + 1) // 3),
    "equal": lambda n: torch.full((n,), -0.7, dtype=torch.float64),
    "far_apart": lambda n: 10.0 ** (shuffled(n).double() % 9 - 4),
}
every_kind = pytest.mark.parametrize("kind", REWARDS)
every_size = pytest.mark.parametrize(("n", "k"), SIZES)
every_l2o_size = pytest.mark.parametrize(("n", "k"), L2O_SIZES)
on_every_device = pytest.mark.parametrize("device", DEVICES)


def float64(values: list[Fraction]) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def assert_rounds(actual: Tensor, exact: Tensor) -> None:
    """Equal to ``exact`` up to float64 arithmetic at the scale of the group, then rounding to the dtype."""
    scale = exact.abs().max().item()
    rtol = torch.finfo(actual.dtype).eps
    assert_close(actual.cpu(), exact.to(actual.dtype), rtol=rtol, atol=1e-13 * scale)


def without(rewards: Tensor, i: int) -> Tensor:
    return torch.cat([rewards[:i], rewards[i + 1 :]])


def include_one(rewards: Tensor, k: int) -> Tensor:
    return float64([reference.include_one(rewards.tolist(), i, k) for i in range(len(rewards))])


# All subsets


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_kind
@every_size
def test_max_at_k_is_the_mean_over_all_subsets(n, k, kind, dtype):
    rewards = REWARDS[kind](n).to(dtype)
    assert_rounds(max_at_k(rewards, k), float64([reference.max_at_k(rewards.tolist(), k)])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_kind
@every_l2o_size
def test_advantages_follow_the_leave_two_out_definition(n, k, kind, dtype):
    rewards = REWARDS[kind](n).to(dtype)
    assert_rounds(max_at_k_advantages(rewards, k), float64(reference.l2o_advantages(rewards.tolist(), k)))


@pytest.mark.parametrize("device", DEVICES[1:])
@every_l2o_size
def test_an_accelerator_agrees_with_the_cpu(n, k, device):
    rewards = torch.stack([rewards_of(n) for rewards_of in REWARDS.values()])
    scale = rewards.abs().max().item()
    for function in (max_at_k, max_at_k_advantages):
        on_device = function(rewards.to(device), k)
        assert on_device.device.type == device
        assert_close(on_device.cpu(), function(rewards, k), rtol=1e-14, atol=1e-14 * scale)


# The identities of maxpo.md, by number: in rationals where they need no package, then for the package


@every_kind
@every_l2o_size
def test_identity_1_the_l2o_baseline_is_a_difference_of_two_max_at_k(n, k, kind):
    exact = REWARDS[kind](n).tolist()
    for i in range(n):
        difference = reference.leave_one_out(exact, i, k) - reference.leave_one_out(exact, i, k - 1)
        assert reference.l2o_baseline(exact, i, k) == difference


@every_kind
@every_l2o_size
def test_identity_1_advantage_is_include_one_minus_leave_one_out(n, k, kind):
    rewards = REWARDS[kind](n)
    leave_one_out = torch.stack([max_at_k(without(rewards, i), k) for i in range(n)])
    expected = include_one(rewards, k) - leave_one_out
    assert_close(max_at_k_advantages(rewards, k), expected, rtol=1e-12, atol=1e-12 * rewards.abs().max().item())


@every_kind
@every_l2o_size
def test_identity_2_max_at_k_mixes_include_one_and_leave_one_out(n, k, kind):
    exact = REWARDS[kind](n).tolist()
    share = Fraction(k, n)
    for i in range(n):
        mixed = share * reference.include_one(exact, i, k) + (1 - share) * reference.leave_one_out(exact, i, k)
        assert reference.max_at_k(exact, k) == mixed


@every_kind
@every_l2o_size
def test_identity_2_advantage_is_the_scaled_excess_over_max_at_k(n, k, kind):
    rewards = REWARDS[kind](n)
    expected = n / (n - k) * (include_one(rewards, k) - max_at_k(rewards, k))
    assert_close(max_at_k_advantages(rewards, k), expected, rtol=1e-12, atol=1e-12 * rewards.abs().max().item())


@every_kind
@every_l2o_size
def test_identity_3_advantages_sum_to_zero_in_rationals(n, k, kind):
    assert sum(reference.l2o_advantages(REWARDS[kind](n).tolist(), k)) == 0


@pytest.mark.parametrize(("n", "k"), [*L2O_SIZES, (64, 8), (1000, 1), (1000, 16), (1000, 999)])
@every_kind
def test_identity_3_advantages_sum_to_zero(n, k, kind):
    advantages = max_at_k_advantages(REWARDS[kind](n), k)
    assert math.fsum(advantages.tolist()) == pytest.approx(0, abs=1e-13 * advantages.abs().sum().item())


@on_every_device
@pytest.mark.parametrize("n", [2, 3, 8, 100])
@every_kind
def test_identity_4_k_of_one_is_rloo(n, kind, device):
    rewards = REWARDS[kind](n).to(device)
    rloo = rewards - (rewards.sum() - rewards) / (n - 1)
    assert_close(max_at_k_advantages(rewards, 1), rloo, rtol=1e-12, atol=1e-12 * rewards.abs().max().item())


WHOLE = torch.tensor([3, -1, 4, 1, -5, 9, 2, 6, 5, 3], dtype=torch.float64)  # sums with these are exact in float64
SOME_K = [1, 2, 4, 9]


@on_every_device
@pytest.mark.parametrize("constant", [1.0, -7.0, 2.0**20, -(2.0**45)])
@pytest.mark.parametrize("k", SOME_K)
def test_identity_5_a_constant_changes_nothing(k, constant, device):
    rewards = WHOLE.to(device)
    assert torch.equal(max_at_k_advantages(rewards + constant, k), max_at_k_advantages(rewards, k))


@pytest.mark.parametrize("constant", [1.0, -7.0, 2.0**20])
@pytest.mark.parametrize("k", [*SOME_K, 10])
def test_a_constant_moves_max_at_k_by_itself(k, constant):
    assert_close(max_at_k(WHOLE + constant, k), max_at_k(WHOLE, k) + constant, rtol=1e-15, atol=0)


@on_every_device
@pytest.mark.parametrize("factor", [2.0**-1000, 0.25, 2.0**60])
@pytest.mark.parametrize("k", SOME_K)
def test_identity_5_a_power_of_two_scales_exactly(k, factor, device):
    rewards = normal(10).to(device)
    assert torch.equal(max_at_k_advantages(factor * rewards, k), factor * max_at_k_advantages(rewards, k))
    assert torch.equal(max_at_k(factor * rewards, k), factor * max_at_k(rewards, k))


@pytest.mark.parametrize("factor", [1e-30, 0.1, 3.0, 1e30])
@pytest.mark.parametrize("k", SOME_K)
def test_identity_5_a_positive_factor_scales(k, factor):
    rewards = normal(10)
    assert_rounds(max_at_k_advantages(factor * rewards, k) / factor, max_at_k_advantages(rewards, k))
    assert_rounds(max_at_k(factor * rewards, k) / factor, max_at_k(rewards, k))


@on_every_device
@pytest.mark.parametrize(("n", "k"), [(8, 3), (50, 1), (50, 8), (50, 49), (3000, 16)])
def test_identity_5_tied_rewards_get_the_same_bits(n, k, device):
    levels = normal(n // 5).to(device)
    level_of = shuffled(n).to(device) % len(levels)
    advantages = max_at_k_advantages(levels[level_of], k)
    distinct_per_level = [len(advantages[level_of == level].unique()) for level in range(len(levels))]
    assert distinct_per_level == [1] * len(levels)


@on_every_device
@every_kind
@pytest.mark.parametrize(("n", "k"), [(2, 1), (7, 3), (16, 8), (16, 15)])
def test_identity_5_permuting_rewards_permutes_the_same_bits(n, k, kind, device):
    rewards, permutation = REWARDS[kind](n).to(device), shuffled(n, seed=1).to(device)
    assert torch.equal(max_at_k_advantages(rewards[permutation], k), max_at_k_advantages(rewards, k)[permutation])
    assert torch.equal(max_at_k(rewards[permutation], k), max_at_k(rewards, k))


def all_fail(n: int, c: int, k: int) -> Fraction:
    """C(n-c, k) / C(n, k), written with as many factors as the smaller of c and k."""
    few, many = min(c, k), max(c, k)
    return math.prod((Fraction(n - many - i, n - i) for i in range(few)), start=Fraction(1))


def zero_one_advantages(rewards: Tensor, k: int) -> Tensor:
    """Identity 6."""
    n, c = len(rewards), int(rewards.sum())
    success = Fraction(n, n - k) * all_fail(n, c, k)
    failure = -Fraction(c, n - c) * success if c < n else Fraction(0)
    return float64([failure, success])[rewards.long()]


@pytest.mark.parametrize(("n", "k", "c"), [(n, k, c) for n, k in SIZES for c in range(n + 1)])
def test_the_product_form_is_the_ratio_of_binomials(n, k, c):
    assert all_fail(n, c, k) == Fraction(math.comb(n - c, k), math.comb(n, k))


@pytest.mark.parametrize(("n", "k", "c"), [(n, k, c) for n, k in L2O_SIZES for c in range(n + 1)])
def test_identity_6_zero_one_rewards(n, k, c):
    rewards = zero_one(n, c)
    assert_rounds(max_at_k_advantages(rewards, k), zero_one_advantages(rewards, k))
    assert max_at_k(rewards, k).item() == pytest.approx(float(1 - all_fail(n, c, k)), rel=1e-14, abs=1e-15)


def outcomes(actions: int, n: int) -> Tensor:
    """Every sequence of n actions, shape [actions ** n, n]."""
    return torch.cartesian_prod(*[torch.arange(actions)] * n).view(-1, n)


@pytest.mark.parametrize("p", [Fraction(1, 50), Fraction(1, 3), Fraction(9, 10)])
@pytest.mark.parametrize(("n", "k"), [(n, k) for n, k in L2O_SIZES if n <= 5])
def test_identity_7_expected_gain_of_a_success_in_rationals(n, k, p):
    gain = Fraction(0)
    for others in outcomes(2, n - 1).tolist():
        probability = p ** sum(others) * (1 - p) ** (n - 1 - sum(others))
        gain += probability * (
            reference.l2o_advantage([1, *others], 0, k) - reference.l2o_advantage([0, *others], 0, k)
        )
    assert gain == (1 - p) ** (k - 1)


@pytest.mark.parametrize("p", [0.02, 1 / 3, 0.9])
@every_l2o_size
def test_identity_7_expected_gain_of_a_success(n, k, p):
    others = outcomes(2, n - 1).double()
    probability = (p * others + (1 - p) * (1 - others)).prod(dim=-1)
    success, failure = (
        max_at_k_advantages(torch.nn.functional.pad(others, (1, 0), value=own), k)[:, 0] for own in (1.0, 0.0)
    )
    assert (probability @ (success - failure)).item() == pytest.approx((1 - p) ** (k - 1), rel=1e-12, abs=1e-15)


# The policy gradient, by enumerating every outcome of a small softmax policy

ACTION_REWARDS = {
    "distinct": [0.3, -1.2, 2.5, 0.9],
    "tied": [0.5, 2.0, 2.0, -1.0],
    "success_or_failure": [0.0, 1.0, 0.0],
    "large_offset": [1000.5, 1001.25, 1003.0],
}
POLICIES = [(n, k, kind) for n in range(2, 6) for k in range(1, n) for kind in ACTION_REWARDS]


class SoftmaxPolicy:
    def __init__(self, kind: str) -> None:
        self.rewards = torch.tensor(ACTION_REWARDS[kind], dtype=torch.float64)
        self.logits = normal(len(self.rewards), seed=3).requires_grad_()

    def log_probabilities(self, n: int) -> tuple[Tensor, Tensor]:
        """Every outcome of n samples and the samples' log pi, both [outcomes, n]."""
        actions = outcomes(len(self.rewards), n)
        return actions, self.logits.log_softmax(dim=-1)[actions]

    def objective(self, k: int) -> Tensor:
        """J_k, the expected best of k samples."""
        actions, log_pi = self.log_probabilities(k)
        return log_pi.sum(dim=-1).exp() @ self.rewards[actions].amax(dim=-1)

    def gradient(self, value: Tensor) -> Tensor:
        return torch.autograd.grad(value, self.logits)[0]


@pytest.mark.parametrize(("n", "k", "kind"), POLICIES)
def test_policy_gradient_is_unbiased(n, k, kind):
    policy = SoftmaxPolicy(kind)
    actions, log_pi = policy.log_probabilities(n)
    probability = log_pi.sum(dim=-1).exp().detach()
    estimate = (k * max_at_k_advantages(policy.rewards[actions], k) * log_pi).mean(dim=-1)
    exact = policy.gradient(policy.objective(k))
    assert exact.abs().max() > 1e-3
    assert_close(policy.gradient(probability @ estimate), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "k", "kind"), [*POLICIES, *((n, n, kind) for n in range(1, 6) for kind in ACTION_REWARDS)]
)
def test_max_at_k_is_unbiased(n, k, kind):
    policy = SoftmaxPolicy(kind)
    actions, log_pi = policy.log_probabilities(n)
    expected_value = log_pi.sum(dim=-1).exp() @ max_at_k(policy.rewards[actions], k)
    assert_close(expected_value, policy.objective(k), rtol=1e-12, atol=1e-12)


# Known special cases of k


@every_kind
@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_max_at_one_is_the_mean_and_max_at_n_the_maximum(n, kind):
    rewards = REWARDS[kind](n)
    assert_close(max_at_k(rewards, 1), rewards.mean(), rtol=1e-13, atol=1e-13)
    assert max_at_k(rewards, n) == pytest.approx(rewards.max().item(), rel=1e-15)


def largest_k_advantages(rewards: Tensor) -> Tensor:
    """For k = n - 1: the best gets its lead over the second, the others share it."""
    second, best = rewards.sort().values[-2:]
    return torch.where(rewards == best, best - second, (second - best) / (len(rewards) - 1))


@on_every_device
@pytest.mark.parametrize("n", [2, 3, 50, 10**5, LARGE])
def test_largest_k_shares_the_lead_of_the_best(n, device):
    rewards = normal(n).to(device)
    assert_close(max_at_k_advantages(rewards, n - 1), largest_k_advantages(rewards), rtol=1e-10, atol=0)


# Groups without signal

NO_SIGNAL = {
    **{f"equal, k={k}": ([0.1] * 8, k) for k in range(1, 8)},
    **{f"no success, k={k}": ([0.0] * 8, k) for k in (1, 4, 7)},
    **{
        f"{c} of 8 succeed, k={k}": ([0.0, 1.0] * (8 - c) + [1.0] * (2 * c - 8), k) for c, k in [(5, 4), (6, 3), (8, 1)]
    },
    "best tied three times, k = n - 2": ([0.3, 7.7, -1.1, 7.7, 7.7], 3),
    "best tied twice, k = n - 1": ([0.3, 7.7, 5.0, -1.1, 7.7], 4),
    "a thousand, best tied 600 times": ([0.1, 2.3] * 400 + [2.3] * 200, 401),
}


@on_every_device
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", NO_SIGNAL)
def test_a_group_without_signal_gets_exact_zeros(case, dtype, device):
    rewards, k = NO_SIGNAL[case]
    advantages = max_at_k_advantages(torch.tensor(rewards, dtype=dtype, device=device), k)
    assert torch.equal(advantages, torch.zeros_like(advantages))
    assert not advantages.signbit().any()


@pytest.mark.parametrize(("n", "k"), [*L2O_SIZES, (1000, 400)])
def test_as_many_best_samples_as_fit_outside_a_subset_still_carry_signal(n, k):
    rewards = zero_one(n, successes=n - k)
    advantages = max_at_k_advantages(rewards, k)
    assert (advantages[rewards == 1] > 0).all()
    assert (advantages[rewards == 0] < 0).all()


# Large groups and large offsets


@on_every_device
@pytest.mark.parametrize("n", [10**5, LARGE])
@pytest.mark.parametrize(("k", "c"), [(1, 1), (8, 1), (8, 1000), (1000, 1000), (0.5, 1), (0.5, 900), (-1, 1), (-1, 2)])
def test_large_groups_of_zero_one_rewards(n, k, c, device):
    k = {0.5: n // 2, -1: n - 1}.get(k, k)
    rewards = zero_one(n, c)
    expected = zero_one_advantages(rewards, k)
    # Relative, for advantages down to 1e-300; each of n factors may be rounded once.
    rtol = n * torch.finfo(torch.float64).eps
    assert_close(max_at_k_advantages(rewards.to(device), k).cpu(), expected, rtol=rtol, atol=0)


def log_binomial(n: Tensor | float, k: float) -> Tensor:
    n = torch.as_tensor(n, dtype=torch.float64)
    valid = n >= k
    n = n.clamp(min=k)
    log = torch.lgamma(n + 1) - math.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return torch.where(valid, log, -math.inf)


def log_gamma_advantages(rewards: Tensor, k: int) -> Tensor:
    """n/(n-k) (q_i - V_k) with the closed forms of maxpo.md, on rewards instead of gaps, by log-gamma."""
    n = len(rewards)
    ranked, order = rewards.sort()
    rank = torch.arange(1, n + 1)
    value = ranked @ (log_binomial(rank - 1, k - 1) - log_binomial(n, k)).exp()
    own = ranked * (log_binomial(rank - 1, k - 1) - log_binomial(n - 1, k - 1)).exp()
    better = ranked * (log_binomial(rank - 2, k - 2) - log_binomial(n - 1, k - 1)).exp() if k > 1 else 0 * ranked
    include_one = own + better.sum() - better.cumsum(dim=0)
    return n / (n - k) * (include_one - value)[order.argsort()]


@pytest.mark.parametrize(("n", "k"), [(9, 4), (1000, 16), (10**5, 2), (10**5, 5000), (LARGE, 1), (LARGE, 64)])
def test_large_groups_of_real_rewards(n, k):
    rewards = normal(n)
    expected = log_gamma_advantages(rewards, k)
    # Log-gamma is what is inaccurate here: an absolute error of eps log(n!) in the exponents.
    tolerance = 8 * torch.finfo(torch.float64).eps * math.lgamma(n + 1) + 1e-14
    assert_close(max_at_k_advantages(rewards, k), expected, rtol=0, atol=tolerance * expected.abs().max().item())


@on_every_device
@pytest.mark.parametrize("k", [1, 1000, LARGE // 2, LARGE - 1])
def test_a_million_samples_stay_finite_and_centred(k, device):
    advantages = max_at_k_advantages(normal(LARGE).to(device), k)
    assert advantages.isfinite().all()
    assert advantages.max() > 0 > advantages.min()
    assert advantages.sum().item() == pytest.approx(0, abs=1e-9 * advantages.abs().sum().item())


@on_every_device
@pytest.mark.parametrize("offset", [1e6, -1e6, 1e7])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_float32_loses_nothing_to_a_large_offset(k, offset, device):
    rewards = (offset + 10 * normal(8)).float()
    assert len(rewards.unique()) > 4
    expected = float64(reference.l2o_advantages(rewards.tolist(), k))
    assert_rounds(max_at_k_advantages(rewards.to(device), k), expected)
    assert torch.equal(max_at_k_advantages(rewards.double(), k).float(), max_at_k_advantages(rewards, k))


# Shapes and dtypes


@on_every_device
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (1, 2, 1, 2), (0,), (2, 0)])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_leading_dimensions_are_rows_apart(k, batch, device):
    rewards = normal(*batch, 6).to(device)
    advantages, values = max_at_k_advantages(rewards, k), max_at_k(rewards, k)
    assert advantages.shape == rewards.shape
    assert values.shape == batch
    for index in np.ndindex(*batch):
        assert torch.equal(advantages[index], max_at_k_advantages(rewards[index], k))
        assert_close(values[index], max_at_k(rewards[index], k), rtol=1e-15, atol=1e-15)


def test_memory_layout_does_not_matter_and_the_input_is_left_alone():
    rewards = normal(6, 5)
    before = rewards.clone()
    assert torch.equal(max_at_k_advantages(rewards.T, 2), max_at_k_advantages(rewards.T.contiguous(), 2))
    assert torch.equal(max_at_k(rewards.T, 2), max_at_k(rewards.T.contiguous(), 2))
    assert torch.equal(rewards, before)


@on_every_device
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("k", [1, 4, 7])
def test_floating_dtypes_come_back_and_are_only_rounded_once(k, dtype, device):
    rewards = normal(8).to(device, dtype)
    advantages, value = max_at_k_advantages(rewards, k), max_at_k(rewards, k)
    assert advantages.dtype == value.dtype == dtype
    assert torch.equal(advantages, max_at_k_advantages(rewards.double(), k).to(dtype))
    assert torch.equal(value, max_at_k(rewards.double(), k).to(dtype))


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_and_booleans_become_the_default_dtype(dtype, default_dtype):
    rewards = torch.tensor([1, 0, 0, 1, 0], dtype=dtype)
    assert torch.equal(max_at_k_advantages(rewards, 2), max_at_k_advantages(rewards.to(default_dtype), 2))
    assert torch.equal(max_at_k(rewards, 2), max_at_k(rewards.to(default_dtype), 2))
    assert max_at_k_advantages(rewards, 2).dtype == max_at_k(rewards, 2).dtype == default_dtype


@pytest.mark.parametrize("k", [np.int64(2), np.uint8(2), torch.tensor(2)], ids=lambda k: type(k).__name__)
def test_k_may_be_any_integer_type(k):
    assert torch.equal(max_at_k_advantages(WHOLE, k), max_at_k_advantages(WHOLE, 2))
    assert torch.equal(max_at_k(WHOLE, k), max_at_k(WHOLE, 2))


# Gradients with respect to the rewards


@every_size
def test_gradcheck_of_max_at_k(n, k):
    assert torch.autograd.gradcheck(lambda rewards: max_at_k(rewards, k), normal(2, n).requires_grad_())


@every_l2o_size
def test_gradcheck_of_the_advantages(n, k):
    assert torch.autograd.gradcheck(lambda rewards: max_at_k_advantages(rewards, k), normal(2, n).requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_size
def test_the_gradient_of_max_at_k_is_the_rank_weights(n, k, dtype):
    rewards = normal(n).to(dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(max_at_k(rewards, k), rewards)
    weights = float64([Fraction(math.comb(j, k - 1), math.comb(n, k)) for j in range(n)])
    ranks = rewards.detach().argsort().argsort()
    assert gradient.dtype == dtype
    assert_close(gradient, weights[ranks].to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-15)


def test_inference_mode_leaves_nothing_behind_that_breaks_training():
    n, k = 37, 5  # a size that no other test uses: weights kept from the first call serve the second
    with torch.inference_mode():
        max_at_k_advantages(normal(n), k)
        max_at_k(normal(n), k)
    rewards = normal(n).requires_grad_()
    max_at_k(rewards, k).backward()
    max_at_k_advantages(rewards, k)[0].backward()
    assert rewards.grad.isfinite().all()


# Errors

BOTH = pytest.mark.parametrize("function", [max_at_k, max_at_k_advantages])


@pytest.mark.parametrize(
    ("function", "n", "k", "largest"),
    [
        (max_at_k, 4, 0, 4),
        (max_at_k, 4, -1, 4),
        (max_at_k, 4, 5, 4),
        (max_at_k, 0, 1, 0),
        (max_at_k_advantages, 4, 0, 3),
        (max_at_k_advantages, 4, -1, 3),
        (max_at_k_advantages, 4, 4, 3),
        (max_at_k_advantages, 4, 5, 3),
        (max_at_k_advantages, 1, 1, 0),
    ],
)
def test_k_out_of_range(function, n, k, largest):
    with pytest.raises(ValueError, match=re.escape(f"k must be in 1..{largest} for groups of {n}, got {k}")):
        function(torch.zeros(n), k)


@BOTH
@pytest.mark.parametrize("k", [True, False, 2.0, 2.5, "2", None, np.float64(2), np.bool_(True), {2}], ids=repr)
def test_k_of_a_wrong_type(function, k):
    with pytest.raises(TypeError, match=re.escape(f"k must be an integer, got {k!r}")):
        function(torch.zeros(4), k)


@BOTH
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_named(function, bad, dtype):
    rewards = torch.tensor([0.0, 1.0, bad, 2.0], dtype=dtype)
    with pytest.raises(ValueError, match=r"rewards must be finite, got 1 NaN or infinite of 4, at 2:"):
        function(rewards, 2)


@BOTH
def test_rewards_of_a_batch_that_are_not_finite_are_named_by_row_and_column(function):
    rewards = torch.zeros(3, 4)
    rewards[0, 1], rewards[2, 3] = math.nan, -math.inf
    with pytest.raises(ValueError, match=re.escape("got 2 NaN or infinite of 12, at (0, 1), (2, 3):")):
        function(rewards, 2)


@BOTH
def test_at_most_eight_rewards_that_are_not_finite_are_named(function):
    with pytest.raises(ValueError, match=re.escape("got 9 NaN or infinite of 9, at 0, 1, 2, 3, 4, 5, 6, 7, ...:")):
        function(torch.full((9,), math.nan), 2)


@pytest.mark.parametrize("baseline", ["L2O", "", "loo_minus", None])
def test_an_unknown_baseline(baseline):
    with pytest.raises(ValueError, match=rf"baseline must be one of \[.*'l2o'.*\], got {baseline!r}"):
        max_at_k_advantages(torch.zeros(4), 2, baseline=baseline)


def test_the_default_baseline_is_l2o():
    assert torch.equal(max_at_k_advantages(WHOLE, 3), max_at_k_advantages(WHOLE, 3, baseline="l2o"))
