"""max_at_k and max_at_k_advantages: closed forms, large groups, numerics, shapes and errors.

That they are the means over subsets that they claim to be is in test_properties.py and test_baselines.py.
"""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from support import reference
from torch import Tensor
from torch.testing import assert_close

from verl_maxpo import grouped_max_at_k_advantages, max_at_k, max_at_k_advantages
from verl_maxpo.best_of_k.baselines import BASELINES

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LARGE = 10**5
BOTH = pytest.mark.parametrize("function", [max_at_k, max_at_k_advantages])


def shuffled(n: int, seed: int = 0) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def zero_one(n: int, successes: int) -> Tensor:
    return (shuffled(n) < successes).double()


def float64(values: list[Fraction]) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def assert_rounds(actual: Tensor, exact: Tensor) -> None:
    """Equal to ``exact`` up to float64 arithmetic at the scale of the group, then rounding to the dtype."""
    scale = exact.abs().max().item()
    assert_close(actual, exact.to(actual.dtype), rtol=torch.finfo(actual.dtype).eps, atol=1e-13 * scale)


# Rewards of 0 and 1


def all_fail(n: int, c: int, k: int) -> Fraction:
    """C(n-c, k) / C(n, k), written with as many factors as the smaller of c and k."""
    few, many = min(c, k), max(c, k)
    return math.prod((Fraction(n - many - i, n - i) for i in range(few)), start=Fraction(1))


def zero_one_advantages(rewards: Tensor, k: int) -> Tensor:
    """Return what c of n successes give: n/(n-k) C(n-c, k)/C(n, k) for each, and -c/(n-c) times that for a failure."""
    n, c = len(rewards), int(rewards.sum())
    success = Fraction(n, n - k) * all_fail(n, c, k)
    failure = -Fraction(c, n - c) * success if c < n else Fraction(0)
    return k * float64([failure, success])[rewards.long()]


@pytest.mark.parametrize("n", range(2, 9))
def test_zero_one_rewards(n):
    for k in range(1, n):
        for c in range(n + 1):
            rewards = zero_one(n, c)
            advantages = max_at_k_advantages(rewards, k)
            assert_rounds(advantages, zero_one_advantages(rewards, k))
            assert (advantages != 0).all() == (0 < c <= n - k)
            assert max_at_k(rewards, k).item() == pytest.approx(float(1 - all_fail(n, c, k)), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize(
    ("k", "c"), [(1, 1), (8, 1), (8, 1000), (1000, 1000), (LARGE // 2, 900), (LARGE - 1, 1), (LARGE - 1, 2)]
)
def test_large_groups_of_zero_one_rewards(k, c):
    rewards = zero_one(LARGE, c)
    # Relative, for advantages down to 1e-300; each of n factors may be rounded once.
    rtol = LARGE * torch.finfo(torch.float64).eps
    assert_close(max_at_k_advantages(rewards, k), zero_one_advantages(rewards, k), rtol=rtol, atol=0)


@pytest.mark.parametrize("p", [0.02, 1 / 3, 0.9])
def test_a_success_gains_the_chance_that_the_other_tries_fail(p):
    n = 7
    others = torch.cartesian_prod(*[torch.arange(2)] * (n - 1)).double()
    probability = (p * others + (1 - p) * (1 - others)).prod(dim=-1)
    for k in range(1, n):
        success, failure = (
            max_at_k_advantages(torch.nn.functional.pad(others, (1, 0), value=own), k)[:, 0] for own in (1.0, 0.0)
        )
        gain = (probability @ (success - failure)).item()
        assert gain == pytest.approx(k * (1 - p) ** (k - 1), rel=1e-12, abs=1e-15)


# Large groups and large offsets


def log_binomial(n: Tensor | float, k: float) -> Tensor:
    n = torch.as_tensor(n, dtype=torch.float64)
    valid = n >= k
    n = n.clamp(min=k)
    log = torch.lgamma(n + 1) - math.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return torch.where(valid, log, -math.inf)


def log_gamma_advantages(rewards: Tensor, k: int) -> Tensor:
    """k n/(n-k) (q_i - V_k) with the closed forms on rewards instead of gaps, by log-gamma."""
    n = len(rewards)
    ranked, order = rewards.sort()
    rank = torch.arange(1, n + 1)
    value = ranked @ (log_binomial(rank - 1, k - 1) - log_binomial(n, k)).exp()
    own = ranked * (log_binomial(rank - 1, k - 1) - log_binomial(n - 1, k - 1)).exp()
    better = ranked * (log_binomial(rank - 2, k - 2) - log_binomial(n - 1, k - 1)).exp() if k > 1 else 0 * ranked
    include_one = own + better.sum() - better.cumsum(dim=0)
    return k * n / (n - k) * (include_one - value)[order.argsort()]


@pytest.mark.parametrize(("n", "k"), [(9, 4), (1000, 16), (LARGE, 5000)])
def test_large_groups_of_real_rewards(n, k):
    rewards = normal(n)
    expected = log_gamma_advantages(rewards, k)
    # Log-gamma is what is inaccurate here: an absolute error of eps log(n!) in the exponents.
    tolerance = 8 * torch.finfo(torch.float64).eps * math.lgamma(n + 1) + 1e-14
    assert_close(max_at_k_advantages(rewards, k), expected, rtol=0, atol=tolerance * expected.abs().max().item())


def test_the_largest_k_shares_the_lead_of_the_best():
    rewards = normal(LARGE)
    second, best = rewards.sort().values[-2:]
    expected = torch.where(rewards == best, best - second, (second - best) / (LARGE - 1)) * (LARGE - 1)
    assert_close(max_at_k_advantages(rewards, LARGE - 1), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("k", [1000, "all"])
def test_a_million_samples_stay_finite_and_centred(k):
    advantages = max_at_k_advantages(normal(2**20), k)
    assert advantages.isfinite().all()
    assert advantages.max() > 0 > advantages.min()
    assert advantages.sum().item() == pytest.approx(0, abs=1e-9 * advantages.abs().sum().item())


@pytest.mark.parametrize("offset", [1e6, -1e7])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_float32_loses_nothing_to_a_large_offset(k, offset):
    rewards = (offset + 10 * normal(8)).float()
    assert len(rewards.unique()) > 4
    expected = k * float64(reference.l2o_advantages(rewards.tolist(), k))
    assert_rounds(max_at_k_advantages(rewards, k), expected)


NO_SIGNAL = {
    "equal": ([0.1] * 8, (1, 4, 7, "all")),
    "no success": ([0.0] * 8, (1, 4, 7, "all")),
    "5 of 8 succeed": ([0.0, 1.0] * 3 + [1.0] * 2, (4, 7)),
    "best tied three times": ([0.3, 7.7, -1.1, 7.7, 7.7], (3, 4)),
    "a thousand, best tied 600 times": ([0.1, 2.3] * 400 + [2.3] * 200, (401, 999)),
}


@pytest.mark.parametrize("case", NO_SIGNAL)
def test_a_group_without_signal_gets_exact_zeros(case):
    rewards, ks = NO_SIGNAL[case]
    for dtype in FLOATS:
        for k in ks:
            advantages = max_at_k_advantages(torch.tensor(rewards, dtype=dtype), k)
            assert torch.equal(advantages, torch.zeros_like(advantages))
            assert not advantages.signbit().any()


# What may be passed


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (1, 2, 1, 2), (0,), (2, 0)])
def test_leading_dimensions_are_rows_apart(batch):
    rewards = normal(*batch, 6)
    advantages, values = max_at_k_advantages(rewards, 3), max_at_k(rewards, 3)
    assert advantages.shape == rewards.shape
    assert values.shape == batch
    for index in np.ndindex(*batch):
        assert torch.equal(advantages[index], max_at_k_advantages(rewards[index], 3))
        assert_close(values[index], max_at_k(rewards[index], 3), rtol=1e-15, atol=1e-15)


@BOTH
def test_memory_layout_does_not_matter_and_the_input_is_left_alone(function):
    rewards = normal(6, 5)
    before = rewards.clone()
    assert torch.equal(function(rewards.T, 2), function(rewards.T.contiguous(), 2))
    assert torch.equal(rewards, before)


def read_only(values: list[float]) -> np.ndarray:
    array = np.array(values)
    array.flags.writeable = False
    return array


REWARDS = [3.0, 0.5, 4.0, 0.0]


@BOTH
@pytest.mark.parametrize(
    "rewards",
    [REWARDS, tuple(REWARDS), np.array(REWARDS, dtype=np.float32), read_only(REWARDS), np.array(REWARDS[::-1])[::-1]],
    ids=["list", "tuple", "array", "read-only", "reversed"],
)
def test_lists_and_arrays_are_tensors(function, rewards):
    actual = function(rewards, 2)
    assert actual.dtype == (torch.float64 if getattr(rewards, "dtype", None) == np.float64 else torch.float32)
    assert_close(actual.double(), function(torch.tensor(REWARDS, dtype=torch.float64), 2))


@BOTH
def test_nested_lists_are_a_batch(function):
    assert torch.equal(function([REWARDS, REWARDS[::-1]], 2), function(torch.tensor([REWARDS, REWARDS[::-1]]), 2))


@BOTH
@pytest.mark.parametrize("rewards", ["abcd", ["a", "b"], [None, 1.0], [1j, 2j], [[1.0], [1.0, 2.0]], {1.0, 2.0}, None])
def test_rewards_that_are_no_numbers(function, rewards):
    with pytest.raises(TypeError, match="rewards must be"):
        function(rewards, 1)


@BOTH
@pytest.mark.parametrize("dtype", FLOATS)
def test_floating_dtypes_come_back_and_are_only_rounded_once(function, dtype):
    rewards = normal(8).to(dtype)
    assert function(rewards, 4).dtype == dtype
    assert torch.equal(function(rewards, 4), function(rewards.double(), 4).to(dtype))


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@BOTH
def test_integers_and_booleans_become_the_default_dtype(function, default_dtype):
    for dtype in (torch.bool, torch.uint8, torch.int64):
        rewards = torch.tensor([1, 0, 0, 1, 0], dtype=dtype)
        assert function(rewards, 2).dtype == default_dtype
        assert torch.equal(function(rewards, 2), function(rewards.to(default_dtype), 2))


@BOTH
@pytest.mark.parametrize("k", [np.int64(2), np.uint8(2), torch.tensor(2)], ids=lambda k: type(k).__name__)
def test_k_may_be_any_integer_type(function, k):
    assert torch.equal(function(normal(9), k), function(normal(9), 2))


@pytest.mark.parametrize("n", [1, 4, 8])
def test_the_gradient_of_max_at_k_is_the_rank_weights(n):
    for k in range(1, n + 1):
        rewards = normal(n).requires_grad_()
        (gradient,) = torch.autograd.grad(max_at_k(rewards, k), rewards)
        weights = float64([Fraction(math.comb(j, k - 1), math.comb(n, k)) for j in range(n)])
        assert_close(gradient, weights[rewards.detach().argsort().argsort()], rtol=1e-14, atol=1e-15)


def test_inference_mode_leaves_nothing_behind_that_breaks_training():
    n, k = 37, 5  # a size that no other test uses: weights kept from the first call serve the second
    with torch.inference_mode():
        max_at_k_advantages(normal(n), k)
        max_at_k(normal(n), k)
    rewards = normal(n).requires_grad_()
    max_at_k(rewards, k).backward()
    max_at_k_advantages(rewards, k)[0].backward()
    assert rewards.grad.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_accelerator_agrees_with_the_cpu():
    rewards = torch.stack([normal(64), zero_one(64, 9), normal(64).round(), torch.zeros(64).double()])
    groups = shuffled(256) % 5

    def grouped(rewards: Tensor, k: int) -> Tensor:
        return grouped_max_at_k_advantages(rewards.flatten(), groups.to(rewards.device), k)

    for function, ks in ((max_at_k, (1, 8, 64)), (max_at_k_advantages, (1, 8, 63, "all")), (grouped, (1, 8, "all"))):
        for k in ks:
            on_device = function(rewards.cuda(), k)
            assert on_device.device.type == "cuda"
            assert_close(on_device.cpu(), function(rewards, k), rtol=1e-13, atol=1e-13)


# Errors


@pytest.mark.parametrize(
    ("function", "n", "k", "message"),
    [
        (max_at_k, 4, 0, "k must be at least 1, got 0"),
        (max_at_k, 4, 5, "k=5 needs groups of at least 5 responses, got 4"),
        (max_at_k, 0, 1, "k=1 needs groups of at least 1 responses, got 0"),
        (max_at_k_advantages, 4, -1, "k must be at least 1, got -1"),
        (max_at_k_advantages, 4, 4, "k=4 with baseline='l2o' needs groups of at least 5 responses, got 4"),
        (max_at_k_advantages, 1, 1, "k=1 with baseline='l2o' needs groups of at least 2 responses, got 1"),
    ],
)
def test_k_out_of_range(function, n, k, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        function(torch.zeros(n), k)


@BOTH
@pytest.mark.parametrize("k", [True, 2.0, None, np.float64(2), np.bool_(True), {2}], ids=repr)
def test_k_of_a_wrong_type(function, k):
    with pytest.raises(TypeError, match=re.escape(f"k must be an integer, got {k!r}")):
        function(torch.zeros(4), k)


@BOTH
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rewards_that_are_not_finite_are_named(function, bad):
    for dtype in FLOATS:
        with pytest.raises(ValueError, match=r"rewards must be finite, got 1 NaN or infinite of 4, at 2:"):
            function(torch.tensor([0.0, 1.0, bad, 2.0], dtype=dtype), 2)
    rewards = torch.zeros(3, 4)
    rewards[0, 1], rewards[2, 3] = bad, bad
    with pytest.raises(ValueError, match=re.escape("got 2 NaN or infinite of 12, at (0, 1), (2, 3):")):
        function(rewards, 2)
    with pytest.raises(ValueError, match=re.escape("got 9 NaN or infinite of 9, at 0, 1, 2, 3, 4, 5, 6, 7, ...:")):
        function(torch.full((9,), bad), 2)


@pytest.mark.parametrize("normalize", [None, "std"])
@pytest.mark.parametrize(("dtype", "huge"), [(torch.float16, 6e4), (torch.float32, 3e38), (torch.float64, 1.7e308)])
def test_rewards_whose_advantages_overflow_are_an_error(dtype, huge, normalize):
    rewards = torch.tensor([huge, -huge, -huge, -huge], dtype=dtype)
    if normalize and dtype != torch.float64:  # divided by their own spread, they are of order 1
        assert max_at_k_advantages(rewards, 1, normalize=normalize).abs().max() < 10
        return
    with pytest.raises(ValueError, match=rf"rewards from -.* to .* give results that {dtype} cannot hold: scale"):
        max_at_k_advantages(rewards, 1, normalize=normalize)
    with pytest.raises(ValueError, match="cannot hold"):
        grouped_max_at_k_advantages(rewards, "aaaa", 1, normalize=normalize)


@pytest.mark.parametrize("baseline", ["L2O", "", "loo_minus", "adaptive", None, ["l2o"]])
def test_an_unknown_baseline(baseline):
    with pytest.raises(ValueError, match=re.escape(f"baseline must be one of {sorted(BASELINES)}, got {baseline!r}")):
        max_at_k_advantages(torch.zeros(4), 2, baseline=baseline)
