"""The one advantage A_i = n (V_k(S) - V_k(S-i)) for the best by reward, the best by a score and the majority vote."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference
from support.reference import Response
from torch import Tensor
from torch.testing import assert_close

import verl_maxpo
from verl_maxpo.best_of_k.estimates import estimates
from verl_maxpo.best_of_k.groups import ranked_groups

bounded = settings(max_examples=150, deadline=None, derandomize=True)
RULES = {"max": reference.best, "selected": reference.selected, "maj": reference.vote}
every_rule = pytest.mark.parametrize("rule", RULES)

REWARD, SCORE, ANSWER = st.integers(-2, 3), st.integers(0, 2), st.sampled_from(["a", "b", ("c", 1), None])
GROUP = st.lists(st.tuples(REWARD, SCORE, ANSWER), min_size=2, max_size=7)


def columns(responses: list[Response], rule: str) -> list[Any]:
    """Return what the functions of a rule take before k."""
    rewards, scores, answers = (list(column) for column in zip(*responses, strict=True))
    rewards = torch.tensor(rewards, dtype=torch.float64)
    return {"max": [rewards], "selected": [rewards, scores], "maj": [rewards, answers]}[rule]


def value_of(responses: list[Response], rule: str, k: int) -> Tensor:
    return getattr(verl_maxpo, f"{rule}_at_k")(*columns(responses, rule), k)


def advantages_of(responses: list[Response], rule: str, k: Any, **options: Any) -> Tensor:
    return getattr(verl_maxpo, f"{rule}_at_k_advantages")(*columns(responses, rule), k, **options)


@every_rule
@bounded
@given(GROUP, st.data())
def test_values_and_advantages_are_means_over_all_subsets(
    rule: str, responses: list[Response], data: st.DataObject
) -> None:
    n = len(responses)
    k = data.draw(st.integers(1, n))
    assert value_of(responses, rule, k).item() == pytest.approx(float(reference.value(responses, k, RULES[rule])))
    if k < n:
        exact = reference.advantages(responses, k, RULES[rule])
        found = advantages_of(responses, rule, k)
        assert_close(found, torch.tensor([float(one) for one in exact], dtype=torch.float64), rtol=1e-12, atol=1e-12)
        assert sum(exact) == 0
        assert found.sum().item() == pytest.approx(0, abs=1e-12)
        assert bool(found.any()) == any(exact)  # no signal is exactly 0, and so visible as such


@bounded
@given(st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6), min_size=2, max_size=30), st.data())
def test_scores_that_are_the_rewards_give_max_at_k_to_the_last_bit(rewards: list[float], data: st.DataObject) -> None:
    n = len(rewards)
    k: Any = data.draw(st.integers(1, n - 1) | st.just("all") | st.lists(st.integers(1, n - 1), min_size=1, max_size=3))
    values = torch.tensor(rewards, dtype=torch.float64)
    found = verl_maxpo.selected_at_k_advantages(values, values, k)
    assert torch.equal(found, verl_maxpo.max_at_k_advantages(values, k))
    if isinstance(k, int):
        assert torch.equal(verl_maxpo.selected_at_k(values, values, k), verl_maxpo.max_at_k(values, k))


ARMS = {
    "max": [(0, 2, "a"), (1, 0, "b"), (2, 1, "c")],
    "selected": [(0, 2, "a"), (1, 0, "b"), (2, 2, "c")],
    "maj": [(0, 2, "a"), (1, 0, "b"), (3, 1, "b")],
}


@pytest.mark.parametrize(("n", "k"), [(3, 1), (3, 2), (4, 2), (4, 3)])
@every_rule
def test_expected_gradient_of_a_policy_with_three_responses(rule: str, n: int, k: int) -> None:
    probability = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    one_hot = torch.eye(3, dtype=torch.float64)

    def gradient(size: int, weights: Callable[[list[Response]], Tensor]) -> Tensor:
        total = torch.zeros(3, dtype=torch.float64)
        for drawn in map(list, product(range(3), repeat=size)):
            score = one_hot[drawn] - probability
            total += probability[drawn].prod() * weights([ARMS[rule][arm] for arm in drawn]) @ score
        return total

    expected = gradient(k, lambda drawn: torch.full((k,), float(RULES[rule](drawn)), dtype=torch.float64))
    assert_close(gradient(n, lambda drawn: advantages_of(drawn, rule, k) / n), expected, rtol=1e-12, atol=1e-13)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize("rule", ["selected", "maj"])
@bounded
@given(GROUP, st.randoms(use_true_random=False), st.data())
def test_order_names_and_scale_do_not_matter(
    rule: str, responses: list[Response], random: Any, data: st.DataObject
) -> None:
    n = len(responses)
    k = data.draw(st.integers(1, n - 1))
    before = advantages_of(responses, rule, k)
    order = random.sample(range(n), n)
    names = {"a": 7, "b": frozenset({1}), ("c", 1): "x", None: None}
    moved = [(4 * r, s**3 - 5, names[a]) for r, s, a in (responses[i] for i in order)]
    assert_close(advantages_of(moved, rule, k), 4 * before[order], rtol=1e-12, atol=1e-12)
    if all(answer is not None for _, _, answer in responses) or rule == "selected":
        shifted = [(r + 1000, s, a) for r, s, a in responses]
        assert_close(advantages_of(shifted, rule, k), before, rtol=0, atol=1e-10)


@every_rule
def test_a_weighted_sum_of_several_k(rule: str) -> None:
    responses = [(i % 2, i % 3, "aab"[i % 3]) for i in range(7)]
    for scale_by_k in (True, False):
        parts = [w * advantages_of(responses, rule, k, scale_by_k=scale_by_k) for k, w in ((1, 0.25), (4, 0.75))]
        found = advantages_of(responses, rule, [1, 4], weights=[0.25, 0.75], scale_by_k=scale_by_k)
        assert_close(found, sum(parts), rtol=1e-12, atol=1e-13)
    assert_close(4 * advantages_of(responses, rule, 4, scale_by_k=False), advantages_of(responses, rule, 4))


def test_all_k_by_a_score_is_the_sum() -> None:
    responses = [(i % 2, i % 3, None) for i in range(6)]
    parts = [advantages_of(responses, "selected", k) / k for k in range(1, 6)]
    assert_close(advantages_of(responses, "selected", "all"), sum(parts), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rule", ["selected", "maj"])
def test_groups_in_any_order_and_of_any_size(rule: str) -> None:
    rng = np.random.default_rng(0)
    responses = [(float(rng.integers(2)), int(rng.integers(3)), "abc"[rng.integers(3)]) for _ in range(20)]
    ids = [int(one) for one in rng.integers(4, size=20)]
    function = getattr(verl_maxpo, f"grouped_{rule}_at_k_advantages")
    found = function(*columns(responses, rule), ids, 3)
    for group in set(ids):
        rows = [row for row in range(20) if ids[row] == group]
        members = [responses[row] for row in rows]
        alone = advantages_of(members, rule, 3) if len(rows) > 3 else torch.zeros(len(rows), dtype=torch.float64)
        assert_close(found[rows], alone, rtol=1e-12, atol=1e-13)
    assert found.any()


def test_leading_dimensions_and_arrays() -> None:
    rewards = np.array([[[1.0, 0, 1, 1]], [[0, 1, 0, 0]]])
    answers = [[["a", "b", "a", None]], [["x", "y", "y", "z"]]]
    found = verl_maxpo.maj_at_k_advantages(rewards, np.array(answers, dtype=object), 3)
    assert found.shape == (2, 1, 4)
    for row in range(2):
        assert torch.equal(found[row, 0], verl_maxpo.maj_at_k_advantages(rewards[row, 0], answers[row][0], 3))
    assert verl_maxpo.selected_at_k(rewards, rewards[::-1], 2).shape == (2, 1)


@pytest.mark.parametrize(("n", "k"), [(40, 40), (100, 50), (300, 7)])
def test_large_votes_agree_with_random_draws(n: int, k: int) -> None:
    rng = np.random.default_rng(1)
    answers = rng.integers(0, 6, n)
    right = answers == 2
    sizes = np.bincount(answers, minlength=6)
    drawn = rng.multivariate_hypergeometric(sizes, k, size=40_000)
    wins = drawn == drawn.max(axis=1, keepdims=True)
    expected = (wins[:, 2] / wins.sum(axis=1)).mean()
    assert verl_maxpo.maj_at_k(right, answers, k).item() == pytest.approx(expected, abs=0.01)


def test_one_answer_for_all_and_none_for_all() -> None:
    rewards = [1.0, 0.0, 1.0, 0.0, 0.0]
    assert verl_maxpo.maj_at_k(rewards, ["a"] * 5, 3) == pytest.approx(0.4)
    assert_close(verl_maxpo.maj_at_k_advantages(rewards, ["a"] * 5, 3), verl_maxpo.max_at_k_advantages(rewards, 1))
    assert verl_maxpo.maj_at_k(rewards, [None] * 5, 3) == 0
    assert not verl_maxpo.maj_at_k_advantages(rewards, [None] * 5, 3).any()


def test_estimates_of_groups_by_label() -> None:
    rewards, labels = torch.tensor([1.0, 0, 0, 1, 1]), torch.tensor([2, 0, 2, 2, 0])
    found = estimates(ranked_groups(rewards, labels), [1, 3])
    assert found[1].tolist() == pytest.approx([0.5, np.nan, 2 / 3], nan_ok=True)
    assert found[3].tolist() == pytest.approx([np.nan, np.nan, 1], nan_ok=True)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        (
            "selected_at_k",
            ([0.0, 1.0], [0.0], 1),
            ValueError,
            "scores must have the shape of the rewards, [2], got [1]",
        ),
        (
            "selected_at_k",
            ([0.0, 1.0], [0.0, np.nan], 1),
            ValueError,
            "scores must be finite, got 1 NaN or infinite of 2",
        ),
        (
            "selected_at_k",
            ([0.0, 1.0], ["a", "b"], 1),
            TypeError,
            "scores must be a tensor, an array or lists of numbers",
        ),
        ("maj_at_k", ([0.0, 1.0], ["a"], 1), ValueError, "answers must have the shape of the rewards, [2], got 1"),
        ("maj_at_k", ([[0.0], [1.0]], ["a", "b"], 1), ValueError, "answers must have the shape of the rewards, [2, 1]"),
        ("maj_at_k", ([0.0, 1.0], [[1], "b"], 1), TypeError, "an answer must be hashable, such as a string, got [1]"),
        ("maj_at_k", ([0.0, 1.0], ["a", "b"], 3), ValueError, "k=3 needs groups of at least 3 responses, got 2"),
        ("maj_at_k_advantages", ([0.0, 1.0], ["a", "b"], "all"), ValueError, "k must be an integer or some integers"),
        ("maj_at_k_advantages", ([0.0, 1.0], ["a", "b"], 2), ValueError, "needs groups of at least 3 responses, got 2"),
    ],
)
def test_unusable_arguments(name: str, arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        getattr(verl_maxpo, name)(*arguments)


def test_exact_fractions_of_a_small_vote() -> None:
    # Of 4 responses, 2 right ones agree and 2 wrong ones do not: of the 4 triples each has at most one pair.
    found = verl_maxpo.maj_at_k([1, 1, 0, 0], ["7", "7", "5", "3"], 3)
    assert found == pytest.approx(float(Fraction(2, 4) * 1 + Fraction(2, 4) * Fraction(1, 3)))
