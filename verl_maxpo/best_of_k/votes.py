"""maj@k: values and advantages of the majority vote of k responses, exact for every n and k.

V_k(S) = Σ_c P(c wins) m_c, with m_c the mean reward of answer c. To get P, draw each response with probability p = k/n;
given that k were drawn, they are a uniform k-subset. An answer with c responses gets s votes with probability
b(s; c) = C(c, s) p^s (1−p)^(c−s), and the exponent of x counts all that are drawn. Ties are broken at random by giving
each answer a priority in [0, 1]: one that wins with t votes and priority y beats those with fewer votes, and those with
t votes with probability y:

    win_c = b(t; c) x^t        lose_c = Σ_{s<t} b(s; c) x^s + y b(t; c) x^t

    P(c wins) = [x^k] Σ_t ∫₀¹ win_c Π_{d≠c} lose_d dy / b(k; n)

The integrand is a polynomial in y of degree below k/t, so Gauss-Legendre quadrature is exact. All terms are
non-negative: an answer that cannot win has probability 0 exactly.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from verl_maxpo.best_of_k.groups import Blocks, Groups, blocks_of
from verl_maxpo.best_of_k.objectives import Objective

#: How many numbers the products of some elections may hold at a time.
_AT_ONCE = 1 << 23


class Answers(NamedTuple):
    """The answers of some groups; the first is for responses without one.

    Attributes:
        sizes: Responses that gave each answer, ``[groups, answers]``.
        values: Mean reward of each answer less ``base``, ``[groups, answers]``; 0 less ``base`` for none.
        base: Mean reward of the most frequent answer, ``[groups]``: where no other can win, all else is exactly 0.
    """

    sizes: Tensor
    values: Tensor
    base: Tensor


def vote_values(groups: Groups, k: int) -> Tensor:
    """Compute V_k of each group, ``[groups]``."""
    answers, _ = _answers(groups, blocks_of(groups))
    chances = _win_chances(answers.sizes, groups.keys.shape[-1], k)
    return answers.base + (chances * answers.values).sum(dim=-1)


def vote_advantages(groups: Groups, objective: Objective) -> Tensor:
    """Compute the advantage of each response, ``[groups, n]``, n at least the objective's ``smallest_group``.

    Without a response, its answer c has a vote less, and its mean reward changes if it wins all the same:

        V(S−i) = Σ_d P(d wins without i) m_d + P(c wins without i) (m_c − g_i)/(n_c − 1)
    """
    n, blocks = groups.keys.shape[-1], blocks_of(groups)
    answers, answer = _answers(groups, blocks)
    change_of_mean = (blocks.mean - groups.rewards) / (blocks.size - 1).clamp(min=1)
    change_of_mean = change_of_mean.where(groups.keys >= 0, 0)
    group, left_out = answers.sizes.nonzero().unbind(dim=-1)  # each answer of each group
    fewer = answers.sizes[group] - one_hot(left_out, answers.sizes.shape[-1])
    of_response = (answers.sizes.flatten() > 0).cumsum(dim=0).view_as(answers.sizes).gather(-1, answer) - 1
    advantages = torch.zeros_like(groups.rewards)
    for k, share in objective.shares():
        value = (_win_chances(answers.sizes, n, k) * answers.values).sum(dim=-1, keepdim=True)
        chances = _win_chances(fewer, n, k)
        without = (chances * answers.values[group]).sum(dim=-1)[of_response]
        still_wins = chances.gather(-1, left_out[:, None])[of_response].squeeze(-1)
        advantages += share / k * n * (value - without - still_wins * change_of_mean)
    return advantages


def _answers(groups: Groups, blocks: Blocks) -> tuple[Answers, Tensor]:
    """Return the answers, and the number of that of each response, ``[groups, n]``."""
    answer = blocks.number + (groups.keys[:, :1] >= 0)
    sizes = answer.new_zeros(len(answer), int(answer.max()) + 2).scatter(-1, answer, blocks.size)
    means = blocks.mean.new_zeros(sizes.shape).scatter(-1, answer, blocks.mean)
    means[:, 0] = 0
    base = means.gather(-1, sizes[:, 1:].argmax(dim=-1, keepdim=True) + 1)
    return Answers(sizes, means - base, base.squeeze(-1)), answer


def _win_chances(sizes: Tensor, n: int, k: int) -> Tensor:
    """Compute how likely each answer wins among k responses; p = k/n, whatever the sizes sum to.

    Sizes and chances are ``[elections, answers]``. Those without an answer come first, and win if nobody votes.
    """
    table = _table(n, k, sizes.device)
    first = torch.full_like(sizes[:, :1], n)
    order = torch.cat([first, sizes[:, 1:]], dim=-1).argsort(dim=-1, descending=True, stable=True)
    different, like = torch.unique(sizes.gather(-1, order), dim=0, return_inverse=True)
    at_once = max(_AT_ONCE // (table.lose.numel() * sizes.shape[1]), 1)
    chances = torch.cat([_win_chances_at_once(part, table) for part in different.split(at_once)])
    return chances[like].gather(-1, order.argsort(dim=-1))


def _win_chances_at_once(sizes: Tensor, table: _Table) -> Tensor:
    terms = [table.of(number, size) for number, size in enumerate(sizes.T)]
    nothing = table.lose.new_zeros(*table.lose.shape[1:], len(sizes))
    nothing[0] = 1
    before = accumulate((lose for lose, _ in terms[:-1]), _convolved, initial=nothing)
    after = list(accumulate((lose for lose, _ in terms[:0:-1]), _convolved, initial=nothing))
    wins = [
        (_convolved(first, win) * last.flip(0)).sum(dim=(0, 1))
        for (_, win), first, last in zip(terms, before, reversed(after), strict=True)
    ]
    return torch.stack(wins, dim=-1) / table.drawn[-1, sizes.sum(dim=-1)][:, None]


def _convolved(product: Tensor, factor: Tensor) -> Tensor:
    """Multiply polynomials, ``[k + 1, ...]`` and ``[degree + 1, ...]``, up to x^k."""
    result = product * factor[0]
    for degree in range(1, len(factor)):
        result[degree:] += product[:-degree] * factor[degree]
    return result


class _Table(NamedTuple):
    """What the polynomials of one n and k are made of; a case is a number of votes t and a priority y.

    Attributes:
        drawn: b(s; c), ``[k + 1, n + 1]``.
        lose: How much of b(s; c) loses, of those without an answer and of an answer, ``[2, k + 1, cases]``.
        win: How much of it wins, times the weight of the case, ``[2, k + 1, cases]``.
    """

    drawn: Tensor
    lose: Tensor
    win: Tensor

    def of(self, number: int, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the polynomials ``lose`` and ``win`` of an answer, ``[degree + 1, cases, groups]``."""
        kind, terms = min(number, 1), int(sizes.max()) + 1
        drawn = self.drawn[:terms, sizes][:, None]
        return drawn * self.lose[kind, :terms, :, None], drawn * self.win[kind, :terms, :, None]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve a later call that trains
def _table(n: int, k: int, device: torch.device) -> _Table:
    drawn = torch.zeros(k + 1, n + 1, dtype=torch.float64)
    drawn[0, 0] = 1
    for c in range(n):
        drawn[:, c + 1] = (1 - k / n) * drawn[:, c] + k / n * pad(drawn[:-1, c], (1, 0))
    votes, priority, weight = _cases(k)
    s, some = torch.arange(k + 1)[:, None], torch.ones(k + 1, 1)
    lose = torch.stack([some * (votes > 0), (s < votes) + priority * (s == votes)])
    win = torch.stack([some * (votes == 0), weight * ((s == votes) & (votes > 0))])
    return _Table(*(table.to(device, torch.float64) for table in (drawn, lose, win)))


def _cases(k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return votes, priority and weight of each case: nobody votes, or the winner has t votes and a priority."""
    cases = [(0, 1.0, 1.0)]
    for t in range(1, k + 1):
        nodes, weights = np.polynomial.legendre.leggauss((k // t + 1) // 2)
        cases += [(t, (x + 1) / 2, w / 2) for x, w in zip(nodes, weights, strict=True)]
    votes, priority, weight = torch.tensor(cases, dtype=torch.float64).unbind(dim=-1)
    return votes.long(), priority, weight
