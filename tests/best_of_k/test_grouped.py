"""grouped_max_at_k_advantages against one call per group, for every kind of group id."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from verl_maxpo import grouped_max_at_k_advantages, max_at_k_advantages

# Group of each row: "abcdef" have 6, 5, 4, 3, 2 and 1 members and are interleaved, "a" comes last.
LAYOUT = "fcbadbcaebadcabaebcda"
REPEATED = "aabbbcaabcacbbc"


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def one_call_per_group(rewards: Tensor, layout: Sequence[Any], k: int) -> Tensor:
    expected = torch.zeros_like(rewards)
    for group in dict.fromkeys(layout):
        rows = [row for row, other in enumerate(layout) if other == group]
        if len(rows) > k:
            expected[rows] = max_at_k_advantages(rewards[rows], k)
    return expected


def renamed(names: Sequence[Any]) -> list[Any]:
    """LAYOUT with other names for a to f."""
    return [names["abcdef".index(group)] for group in LAYOUT]


def object_array(ids: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(ids), dtype=object)
    for row, group_id in enumerate(ids):
        array[row] = group_id
    return array


MIXED = [("prompt", 1), 1, "", "1", 2.5, frozenset({1})]
HUGE = [2**63 - 1, -(2**63), 2**53, 2**53 + 1, -1, 0]  # two of them are one float64
GROUP_IDS = {
    "string": LAYOUT,
    "list of str": list(LAYOUT),
    "tuple of str": tuple(LAYOUT),
    "generator": lambda: (group for group in LAYOUT),
    "uuid strings": renamed([f"{group:032x}" for group in range(6)]),
    "mixed hashables": renamed(MIXED),
    "object array of str": object_array(list(LAYOUT)),
    "object array of mixed hashables": object_array(renamed(MIXED)),
    "object array of tuples": object_array(renamed([(group, group) for group in range(6)])),
    "numpy str": np.array(list(LAYOUT)),
    "list of numpy str": list(np.array(list(LAYOUT))),
    "numpy int32": np.array(renamed([5, 0, -3, 7, 1, 9]), dtype=np.int32),
    "numpy int64, huge": np.array(renamed(HUGE)),
    "numpy uint64, huge": np.array(renamed([2**64 - 1, 2**64 - 2, 0, 1, 2, 3]), dtype=np.uint64),
    "list of numpy ints": list(np.array(renamed(HUGE))),
    "numpy float": np.array(renamed([0.1, 0.2, -0.1, 1e300, math.inf, 0.0])),
    "python ints beyond 64 bits": renamed([2**100 + group for group in range(6)]),
    "tensor int64": torch.tensor(renamed([5, 0, 3, 7, 1, 9])),
    "tensor int64, negative and huge": torch.tensor(renamed(HUGE)),
    "tensor int32": torch.tensor(renamed([5, 0, -3, 7, 1, 9]), dtype=torch.int32),
    "tensor uint8": torch.tensor(renamed([255, 0, 3, 7, 1, 9]), dtype=torch.uint8),
}


@pytest.mark.parametrize("k", [1, 3, 7])
def test_groups_of_every_size_in_any_order(k):
    rewards = normal(len(LAYOUT))
    advantages = grouped_max_at_k_advantages(rewards, LAYOUT, k)
    assert torch.equal(advantages, one_call_per_group(rewards, LAYOUT, k))
    sizes = torch.tensor([LAYOUT.count(group) for group in LAYOUT])
    assert torch.equal(advantages != 0, sizes > k)  # undersized groups get zeros


@pytest.mark.parametrize("kind", GROUP_IDS)
def test_every_kind_of_group_id(kind):
    rewards = normal(len(LAYOUT))
    group_ids = GROUP_IDS[kind]() if callable(GROUP_IDS[kind]) else GROUP_IDS[kind]
    assert torch.equal(grouped_max_at_k_advantages(rewards, group_ids, 2), one_call_per_group(rewards, LAYOUT, 2))


def test_an_integer_and_its_text_are_different_groups():
    rewards = torch.tensor([1.0, 5.0, 3.0, 9.0])
    assert torch.equal(grouped_max_at_k_advantages(rewards, [1, "1", 1, "1"], 1), torch.tensor([-2.0, -4.0, 2.0, 4.0]))


@pytest.mark.parametrize("k", [1, 2])
def test_ties_within_a_group(k):
    rewards = torch.tensor([0.0, 1.0, 1.0] * (len(REPEATED) // 3))
    expected = one_call_per_group(rewards, REPEATED, k)
    assert torch.equal(grouped_max_at_k_advantages(rewards, REPEATED, k), expected)
    assert expected.count_nonzero() > 0


def test_one_group_is_the_plain_function():
    rewards = normal(9)
    assert torch.equal(grouped_max_at_k_advantages(rewards, ["only"] * 9, 4), max_at_k_advantages(rewards, 4))


def test_every_row_a_group_of_its_own():
    rewards = normal(9)
    assert torch.equal(grouped_max_at_k_advantages(rewards, range(9), 1), torch.zeros_like(rewards))


def test_many_groups_of_many_sizes():
    sizes = torch.arange(1, 60).repeat(2)
    layout = torch.arange(len(sizes)).repeat_interleave(sizes)
    layout = layout[torch.randperm(len(layout), generator=torch.Generator().manual_seed(0))]
    rewards = normal(len(layout))
    expected = one_call_per_group(rewards, layout.tolist(), 4)
    assert torch.equal(grouped_max_at_k_advantages(rewards, layout, 4), expected)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("ours", "theirs"), [(1e-3, 1e12), (1e12, 1e-3), (1.0, 1e300)])
def test_the_scale_of_another_group_does_not_matter(ours, theirs, k):
    rewards = torch.tensor([ours, theirs] * 5, dtype=torch.float64) * normal(10)
    together = grouped_max_at_k_advantages(rewards, ["ours", "theirs"] * 5, k)
    assert torch.equal(together[0::2], max_at_k_advantages(rewards[0::2], k))
    assert torch.equal(together[1::2], max_at_k_advantages(rewards[1::2], k))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_comes_back(dtype):
    rewards = normal(len(LAYOUT)).to(dtype)
    actual = grouped_max_at_k_advantages(rewards, LAYOUT, 2)
    assert actual.dtype == dtype
    assert torch.equal(actual, one_call_per_group(rewards, LAYOUT, 2))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
def test_integers_and_booleans_become_the_default_dtype(dtype):
    rewards = (normal(len(LAYOUT)) > 0).to(dtype)
    expected = grouped_max_at_k_advantages(rewards.to(torch.get_default_dtype()), LAYOUT, 2)
    assert torch.equal(grouped_max_at_k_advantages(rewards, LAYOUT, 2), expected)


@pytest.mark.parametrize(
    "group_ids", [[], (), np.array([]), np.array([], dtype=object), torch.tensor([], dtype=torch.int64)], ids=repr
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_batch(group_ids, dtype):
    advantages = grouped_max_at_k_advantages(torch.empty(0, dtype=dtype), group_ids, 2)
    assert advantages.shape == (0,)
    assert advantages.dtype == dtype


def test_gradcheck():
    rewards = normal(len(LAYOUT)).requires_grad_()
    assert torch.autograd.gradcheck(lambda rewards: grouped_max_at_k_advantages(rewards, LAYOUT, 2), rewards)


def test_gradients_stay_within_the_group():
    rewards = normal(len(LAYOUT)).requires_grad_()
    advantages = grouped_max_at_k_advantages(rewards, LAYOUT, 1)  # RLOO depends on every member of the group
    (gradient,) = torch.autograd.grad(advantages[LAYOUT.index("c")], rewards)
    assert torch.equal(gradient != 0, torch.tensor([group == "c" for group in LAYOUT]))


@pytest.mark.parametrize("group_ids", ["abc", np.arange(5), torch.arange(5), []], ids=repr)
def test_lengths_that_do_not_match(group_ids):
    expected = f"must be one-dimensional and of one length, got [4] and [{len(group_ids)}]"
    with pytest.raises(ValueError, match=re.escape(expected)):
        grouped_max_at_k_advantages(torch.zeros(4), group_ids, 1)


@pytest.mark.parametrize(
    ("rewards", "group_ids"),
    [
        (torch.zeros(2, 2), "ab"),
        (torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.int64)),
        (torch.zeros(4), torch.zeros(2, 2, dtype=torch.int64)),
    ],
    ids=["rewards", "both", "group_ids"],
)
def test_shapes_that_are_not_one_dimensional(rewards, group_ids):
    with pytest.raises(ValueError, match="rewards and group_ids must be one-dimensional and of one length, got"):
        grouped_max_at_k_advantages(rewards, group_ids, 1)


@pytest.mark.parametrize(
    "group_ids", [[["a"], ["b"]], [{}, {}], object_array([["a"], ["b"]]), np.zeros((2, 2))], ids=repr
)
def test_ids_that_are_not_hashable(group_ids):
    with pytest.raises(TypeError, match=r"the id of a prompt must be hashable, such as a string, got .* for row 0"):
        grouped_max_at_k_advantages(torch.zeros(2), group_ids, 1)


@pytest.mark.parametrize(
    "group_ids", [[None] * 3, ["a", None, "a"], np.array(["a", None, "b"], dtype=object)], ids=repr
)
def test_ids_that_are_missing(group_ids):
    row = list(group_ids).index(None)
    with pytest.raises(ValueError, match=f"every response needs the id of its prompt, got None for row {row}"):
        grouped_max_at_k_advantages(torch.zeros(3), group_ids, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rewards_that_are_not_finite_are_named_by_row(bad):
    rewards = torch.tensor([0.0, bad, 1.0, bad])
    with pytest.raises(ValueError, match="rewards must be finite, got 2 NaN or infinite of 4, at 1, 3:"):
        grouped_max_at_k_advantages(rewards, "abab", 1)


def test_lists_and_arrays():
    rewards = normal(len(LAYOUT))
    expected = grouped_max_at_k_advantages(rewards, LAYOUT, 2)
    assert torch.equal(grouped_max_at_k_advantages(rewards.numpy(), LAYOUT, 2), expected)
    assert_close(grouped_max_at_k_advantages(rewards.tolist(), LAYOUT, 2), expected.float())
