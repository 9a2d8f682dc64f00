"""Max@K straight from the definitions of ``docs/mathematics.md``: every subset is enumerated, in rational arithmetic.

Slow and obvious on purpose; the tests compare the package with it. Rewards are sequences of numbers, taken at
their exact value, and a sample is named by its position. Every average is over subsets without replacement.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import combinations

Rewards = Sequence[float | Fraction]


def mean(values: Iterable[float | Fraction]) -> Fraction:
    exact = [Fraction(value) for value in values]
    return sum(exact, Fraction(0)) / len(exact)


def without(rewards: Rewards, i: int) -> list[float | Fraction]:
    return [reward for j, reward in enumerate(rewards) if j != i]


def max_at_k(rewards: Rewards, k: int) -> Fraction:
    """V_k(S): the best reward, averaged over the k-subsets; V_0 = 0."""
    return mean(max(subset, default=0) for subset in combinations(rewards, k))


def include_one(rewards: Rewards, i: int, k: int) -> Fraction:
    """q_i: the best reward, averaged over the k-subsets that contain i."""
    return mean(max((rewards[i], *rest)) for rest in combinations(without(rewards, i), k - 1))


def leave_one_out(rewards: Rewards, i: int, k: int) -> Fraction:
    """M_k(S-i): V_k of the others."""
    return max_at_k(without(rewards, i), k)


def score(rewards: Rewards, i: int, k: int) -> Fraction:
    """s_i: what i adds to the best of k - 1 others, averaged over the choices of the others."""
    others = combinations(without(rewards, i), k - 1)
    return mean(Fraction(max((rewards[i], *chosen))) - Fraction(max(chosen, default=0)) for chosen in others)


def l2o_baseline(rewards: Rewards, i: int, k: int) -> Fraction:
    """b_i: the scores of the others computed without i, averaged; their comparison sets leave out both i and j."""
    others = without(rewards, i)
    return mean(score(others, j, k) for j in range(len(others)))


def l2o_advantage(rewards: Rewards, i: int, k: int) -> Fraction:
    """A_i = s_i - b_i."""
    return score(rewards, i, k) - l2o_baseline(rewards, i, k)


def l2o_advantages(rewards: Rewards, k: int) -> list[Fraction]:
    return [l2o_advantage(rewards, i, k) for i in range(len(rewards))]
