"""Statistics of the evaluation: against enumeration, simulation and verl's own resampling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference

from verl_maxpo.best_of_k.pass_at_k import pass_at_k
from verl_maxpo.evaluate import estimates
from verl_maxpo.evaluate.comparison import _of_correct
from verl_maxpo.evaluate.estimates import (
    by_prompt,
    g_pass_at_k,
    mean_interval,
    paired_proportion_interval,
    proportion_interval,
)
from verl_maxpo.evaluate.results import G_PASS

UNEQUAL = np.array([2, 0, 0, 1, 2, 0, 2, 0, 2])  # prompts with 4, 1 and 4 samples, mixed


def test_max_at_k_of_unequal_prompts_is_the_mean_over_subsets() -> None:
    scores = np.array([0.5, -1.0, 3.0, 7.0, 2.0, 0.25, 0.5, 3.0, -4.0])
    values = by_prompt([1, 3, 4], UNEQUAL, scores)
    for k, found in values.items():
        for prompt in range(3):
            own = scores[prompt == UNEQUAL].tolist()
            if k <= len(own):
                assert found[prompt] == pytest.approx(float(reference.max_at_k(own, k)), rel=1e-14)
            else:
                assert np.isnan(found[prompt])


CASES = [(5, 3), (2, 0), (5, 5), (12, 8), (5, 3)]  # samples and correct ones of a prompt
LABELS = np.repeat(np.arange(len(CASES)), [n for n, _ in CASES])
CORRECT = np.concatenate([np.arange(n) < c for n, c in CASES]).astype(float)


def share_of_subsets(k: int, counts: Callable[[int], bool]) -> list[float]:
    """Return for each prompt how many of its k-subsets have such a number of correct samples."""
    return [
        float(np.mean([counts(sum(subset)) for subset in combinations([1] * c + [0] * (n - c), k)]))
        if k <= n
        else np.nan
        for n, c in CASES
    ]


@pytest.mark.parametrize("k", [1, 2, 4, 10])
def test_metrics_of_correctness_are_shares_of_subsets(k: int) -> None:
    found = {metric: values[k] for metric, values in _of_correct([k], LABELS, CORRECT).items()}
    expected = {"pass@k": share_of_subsets(k, lambda c: c > 0), "pass^k": share_of_subsets(k, lambda c: c == k)}
    expected |= {metric: share_of_subsets(k, lambda c, tau=tau: c >= tau * k) for metric, tau in G_PASS.items()}
    assert found.keys() == expected.keys()
    for metric, values in expected.items():
        np.testing.assert_allclose(found[metric], values, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("tau", [0.25, 0.7, 1.0])
def test_g_pass_at_k_needs_a_share_of_correct_samples(tau: float) -> None:
    for k in (1, 2, 4, 10):
        expected = share_of_subsets(k, lambda c, k=k: c >= Fraction(str(tau)) * k)
        found = by_prompt([k], LABELS, CORRECT, value=partial(g_pass_at_k, tau=tau))[k]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def majority_over_subsets(answers: list[int], correct: list[float], k: int) -> Fraction:
    """Every subset votes; ties are shared, and an answer is right as often as all samples that gave it; 0 is none."""
    right = {a: [c for b, c in zip(answers, correct, strict=True) if a == b] for a in set(answers)}
    results = []
    for subset in combinations(answers, k):
        votes = Counter(answer for answer in subset if answer)
        winners = [a for a, count in votes.items() if count == max(votes.values())]
        shares = [Fraction(int(sum(right[answer])), len(right[answer])) for answer in winners]
        results.append(reference.mean(shares) if shares else Fraction(0))
    return reference.mean(results)


@settings(max_examples=60, deadline=None)  # a busy machine
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=8))
def test_majority_is_that_of_all_subsets(samples: list[tuple[int, int]]) -> None:
    answers, correct = [a for a, _ in samples], [float(c) for _, c in samples]
    ks = list(range(1, len(samples) + 1))
    labels = np.zeros(len(samples), dtype=np.int64)
    found = by_prompt(ks, labels, np.array(correct), np.array(answers), "vote")
    for k in ks:
        assert found[k][0] == pytest.approx(float(majority_over_subsets(answers, correct, k)), abs=1e-12)


def test_majority_of_large_prompts_is_drawn_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(40), 30)
    answers = generator.integers(1, 7, 1200)
    correct = (answers == 1).astype(float)
    exact = by_prompt([1, 2, 5, 30], labels, correct, answers, "vote")
    monkeypatch.setattr(estimates, "EXACT_VOTES", 0)
    drawn = by_prompt([1, 2, 5, 30], labels, correct, answers, "vote")
    np.testing.assert_allclose(drawn[30], exact[30], atol=1e-12)  # no chance is left
    errors = drawn[5] - exact[5]
    assert 0 < np.abs(errors).max() < 4 * 0.5 / (estimates.DRAWS / 40) ** 0.5
    assert abs(errors.mean()) < 4 * 0.5 / estimates.DRAWS**0.5
    np.testing.assert_array_equal(by_prompt([5], labels, correct, answers, "vote")[5], drawn[5])


# Success rates of prompts, with 0 and 1 near on purpose.
RATES = {
    "even": lambda generator, size: generator.beta(1, 1, size),
    "hard": lambda generator, size: generator.beta(0.1, 3, size),
    "saturated": lambda generator, size: generator.beta(5, 0.2, size),
    "mostly hopeless": lambda generator, size: np.where(generator.random(size) < 0.05, generator.beta(1, 3, size), 0),
}
REPEATS = 1000
COVERED = 0.95 - 3 * (0.95 * 0.05 / REPEATS) ** 0.5  # 0.929


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("k", [1, 8])
def test_intervals_cover_with_30_prompts(rates: str, k: int) -> None:
    generator = np.random.default_rng(0)
    everyone = RATES[rates](generator, 200_000)
    easier = everyone**0.8
    truth = (1 - (1 - everyone) ** k).mean()
    difference = ((1 - everyone) ** k - (1 - easier) ** k).mean()
    alone = paired = 0
    for _ in range(REPEATS):
        p = RATES[rates](generator, 30)
        values, candidate = (pass_at_k(16, generator.binomial(16, rate), k) for rate in (p, p**0.8))
        alone += contains(proportion_interval(values), truth)
        paired += contains(paired_proportion_interval(candidate - values), difference)
    assert alone / REPEATS >= COVERED
    assert paired / REPEATS >= COVERED


def test_the_t_interval_covers_rewards() -> None:
    generator = np.random.default_rng(0)
    covered = sum(contains(mean_interval(generator.normal(3, 2, 30)), 3.0) for _ in range(REPEATS))
    assert COVERED <= covered / REPEATS <= 1 - (COVERED - 0.9)


def contains(interval: estimates.Interval | None, value: float) -> bool:
    assert interval is not None
    return interval.low <= value <= interval.high


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_proportion_intervals_are_in_0_to_1_and_hold_the_mean(values: list[float]) -> None:
    interval = proportion_interval(np.array(values))
    assert interval is not None
    assert 0 <= interval.low <= np.mean(values) <= interval.high <= 1
    assert interval.low < interval.high


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=50))
def test_paired_intervals_are_in_minus_1_to_1_and_hold_the_mean(values: list[float]) -> None:
    interval = paired_proportion_interval(np.array(values))
    assert interval is not None
    assert -1 <= interval.low <= np.mean(values) <= interval.high <= 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_prompts_that_agree_still_leave_doubt(value: float) -> None:
    for count in (2, 30, 10_000):
        interval = proportion_interval(np.full(count, value))
        assert interval is not None
        assert 0.5 / count < interval.high - interval.low
    assert mean_interval(np.full(30, value)) is None


def test_one_prompt_has_no_interval() -> None:
    for interval in (proportion_interval, paired_proportion_interval, mean_interval):
        assert interval(np.array([0.5])) is None


def test_many_prompts_have_the_t_interval() -> None:
    values = np.random.default_rng(0).beta(1, 2, 20_000)
    np.testing.assert_allclose(proportion_interval(values), mean_interval(values), atol=1e-5)
    np.testing.assert_allclose(paired_proportion_interval(values), mean_interval(values), atol=1e-4)
