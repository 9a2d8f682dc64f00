"""Max@K straight from the definitions of ``docs/mathematics.md``: every subset is enumerated, in rational arithmetic.

Slow and obvious on purpose; the tests compare the package with it. Rewards are sequences of numbers, taken at
their exact value, and a sample is named by its position. Every average is over subsets without replacement.
"""

from collections.abc import Callable, Iterable, Sequence
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


# Any rule by which k responses become one; a response is (reward, score, answer).

Response = tuple[float | Fraction, float, object]


def best(subset: Sequence[Response]) -> Fraction:
    return Fraction(max(reward for reward, _, _ in subset))


def selected(subset: Sequence[Response]) -> Fraction:
    """The reward with the largest score, ties at random."""
    highest = max(score for _, score, _ in subset)
    return mean(reward for reward, score, _ in subset if score == highest)


def vote(subset: Sequence[Response]) -> Fraction:
    """The mean reward of the most frequent answer, ties at random; None does not vote."""
    gave = {answer: [r for r, _, other in subset if other == answer] for _, _, answer in subset if answer is not None}
    most = max(map(len, gave.values()), default=0)
    return mean(mean(rewards) for rewards in gave.values() if len(rewards) == most) if gave else Fraction(0)


def value(responses: Sequence[Response], k: int, rule: Callable[[Sequence[Response]], Fraction]) -> Fraction:
    """V_k(S)."""
    return mean(rule(subset) for subset in combinations(responses, k))


def advantages(responses: Sequence[Response], k: int, rule: Callable[[Sequence[Response]], Fraction]) -> list[Fraction]:
    """A_i = n (V_k(S) - V_k(S-i))."""
    n, of_all = len(responses), value(responses, k, rule)
    return [n * (of_all - value([*responses[:i], *responses[i + 1 :]], k, rule)) for i in range(n)]
