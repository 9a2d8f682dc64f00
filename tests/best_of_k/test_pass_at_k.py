"""pass_at_k against enumeration, exact fractions and hostile inputs."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from support import reference

from verl_maxpo import max_at_k, pass_at_k

EPS = np.finfo(np.float64).eps
MILLION = 10**6


def exact_pass_at_k(n: int, c: int, k: int) -> Fraction:
    """1 - C(n-c, k) / C(n, k), written with as many factors as the smaller of c and k."""
    few, many = min(c, k), max(c, k)
    return 1 - math.prod((Fraction(n - many - i, n - i) for i in range(few)), start=Fraction(1))


@pytest.mark.parametrize("n", range(1, 11))
def test_it_is_the_share_of_subsets_with_a_success(n):
    rewards = torch.ones(n + 1, n, dtype=torch.float64).tril(-1)  # row c has c successes
    for k in range(1, n + 1):
        enumerated = [reference.max_at_k([1] * c + [0] * (n - c), k) for c in range(n + 1)]
        assert [exact_pass_at_k(n, c, k) for c in range(n + 1)] == enumerated
        values = pass_at_k(n, np.arange(n + 1), k)
        np.testing.assert_allclose(values, [float(value) for value in enumerated], rtol=8 * EPS, atol=0)
        np.testing.assert_allclose(values, max_at_k(rewards, k).numpy(), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (8, 3), (12, 12), (1000, 400), (MILLION, 7)])
def test_the_ends_are_exact(n, k):
    assert pass_at_k(n, 0, k) == 0.0
    assert math.copysign(1, pass_at_k(n, 0, k)) == 1
    assert pass_at_k(n, n - k + 1, k) == pass_at_k(n, n, k) == 1.0  # too few failures for a subset
    if n > k and n < 1000:  # above, the one subset of failures rounds away
        assert pass_at_k(n, n - k, k) < 1.0


@pytest.mark.parametrize("n", [10, 1000, MILLION, 10**12])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_one_success_among_many_is_k_in_n(n, k):
    assert pass_at_k(n, 1, k) == pytest.approx(k / n, rel=8 * EPS, abs=0)


@pytest.mark.parametrize("c", [1, 3, 1000, MILLION // 2])
def test_pass_at_one_is_the_success_rate(c):
    assert pass_at_k(MILLION, c, 1) == pytest.approx(c / MILLION, rel=8 * EPS, abs=0)


@pytest.mark.parametrize(
    ("n", "c", "k"), [(MILLION, 1, MILLION - 1), (MILLION, 3, 5), (MILLION, 50, 1000), (10**12, 2, 3), (4000, 900, 700)]
)
def test_large_groups_lose_no_digits(n, c, k):
    assert pass_at_k(n, c, k) == pytest.approx(float(exact_pass_at_k(n, c, k)), rel=1e-14, abs=0)


@pytest.mark.parametrize(("c", "k"), [(1, 7), (3, 8), (50, 1000), (999, 17)])
def test_successes_and_k_may_be_exchanged(c, k):
    assert pass_at_k(MILLION, c, k) == pass_at_k(MILLION, k, c)


def test_arguments_broadcast():
    n, c, k = np.array([[10], [12]]), np.array([0, 3, 10]), np.array([[[1]], [[2]], [[10]], [[4]]])
    values = pass_at_k(n, c, k)
    assert values.shape == (4, 2, 3)
    assert values.dtype == np.float64
    for index in np.ndindex(values.shape):
        n_one, c_one, k_one = (int(np.broadcast_to(argument, values.shape)[index]) for argument in (n, c, k))
        assert values[index] == pass_at_k(n_one, c_one, k_one)


@pytest.mark.parametrize(
    "successes", [[0, 1, 4], (0, 1, 4), np.array([0, 1, 4], dtype=np.uint8), torch.tensor([0, 1, 4])]
)
def test_any_integer_sequence(successes):
    expected = [float(exact_pass_at_k(8, c, 2)) for c in (0, 1, 4)]
    np.testing.assert_allclose(pass_at_k(8, successes, 2), expected, rtol=8 * EPS, atol=0)


@pytest.mark.parametrize("scalar", [int, np.int32, np.uint8, np.array], ids=lambda scalar: scalar.__name__)
def test_scalars_give_a_scalar(scalar):
    value = pass_at_k(scalar(8), scalar(2), scalar(4))
    assert isinstance(value, float)
    assert np.ndim(value) == 0
    assert value == pytest.approx(float(exact_pass_at_k(8, 2, 4)), rel=8 * EPS)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_nothing_gives_nothing(shape):
    assert pass_at_k(8, np.zeros(shape, dtype=np.int64), 2).shape == shape


def test_the_arguments_are_left_alone():
    n, c, k = np.array([8, 8]), np.array([0, 2]), np.array([4, 4])
    pass_at_k(n, c, k)
    assert (n.tolist(), c.tolist(), k.tolist()) == ([8, 8], [0, 2], [4, 4])


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (0, 0, 1, "num_samples must be at least 1, got 0"),
        (-3, 0, 1, "num_samples must be at least 1, got -3"),
        (4, -1, 1, "num_correct must be between 0 and num_samples, got -1"),
        (4, 5, 1, "num_correct must be between 0 and num_samples, got 5"),
        (4, 2, 0, "k must be between 1 and num_samples, got 0"),
        (4, 2, -1, "k must be between 1 and num_samples, got -1"),
        (4, 2, 5, "k must be between 1 and num_samples, got 5"),
        ([4, 4], [2, 7], 1, "num_correct must be between 0 and num_samples, got 7"),
        ([4, 3], 2, 4, "k must be between 1 and num_samples, got 4"),
    ],
)
def test_arguments_out_of_range(n, c, k, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize("name", ["num_samples", "num_correct", "k"])
@pytest.mark.parametrize(
    ("value", "dtype"), [(2.0, "float64"), (True, "bool"), ("2", "<U1"), (None, "object"), ([1.5, 2.0], "float64")]
)
def test_arguments_that_are_not_integers(name, value, dtype):
    arguments = {"num_samples": 4, "num_correct": 2, "k": 2, name: value}
    with pytest.raises(TypeError, match=f"^{name} must be integers, got {re.escape(dtype)}$"):
        pass_at_k(**arguments)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match="broadcast"):
        pass_at_k([4, 4], [1, 2, 3], 1)
