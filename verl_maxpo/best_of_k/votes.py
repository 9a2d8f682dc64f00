"""maj@k: values and advantages of the majority vote of k responses, exact for every n and k.

Draw each response with probability p = k/n; given that k were drawn, they are a uniform k-subset. An answer with c
responses gets s votes with probability b(s; c) = C(c, s) p^s (1−p)^(c−s), and how many are drawn in total is the
exponent of x in a product of polynomials. Ties are broken at random by giving each answer a priority in [0, 1]: one
that wins with t votes and priority y beats those with fewer votes, and those with t votes with probability y:

    win_c = b(t; c) x^t        lose_c = Σ_{s<t} b(s; c) x^s + y b(t; c) x^t

    P(c wins) = [x^k] Σ_t ∫₀¹ win_c Π_{d≠c} lose_d dy / b(k; n)

The integrand is a polynomial in y of degree below k/t, so that Gauss and Legendre's quadrature is exact. All terms are
non-negative: what cannot win has probability 0 exactly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from verl_maxpo.best_of_k.groups import Blocks, Groups, blocks_of
from verl_maxpo.best_of_k.objectives import Objective

#: How many numbers the products of some groups may hold at a time.
_AT_ONCE = 1 << 23


class Answers(NamedTuple):
    """The answers of groups of n; the first is for responses without one, the others come by falling frequency.

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
    return answers.base + _counted(answers, groups.keys.shape[-1], k, leave_out=False)[0]


def vote_advantages(groups: Groups, objective: Objective) -> Tensor:
    """Compute the advantage of each response, ``[groups, n]``, n at least the objective's ``smallest_group``."""
    n, blocks = groups.keys.shape[-1], blocks_of(groups)
    answers, answer = _answers(groups, blocks)
    others = (blocks.size - 1).clamp(min=1)
    within = torch.where(groups.keys >= 0, (groups.rewards - blocks.mean) / others, 0)  # how the answer's mean changes
    advantages = torch.zeros_like(groups.rewards)
    for k, share in objective.shares():
        value, without, still_wins = _counted(answers, n, k, leave_out=True)
        change = (value[:, None] - without).gather(-1, answer) + still_wins.gather(-1, answer) * within
        advantages += share / k * n * change
    return advantages


def _answers(groups: Groups, blocks: Blocks) -> tuple[Answers, Tensor]:
    """Return the answers, and the number of that of each response, ``[groups, n]``."""
    answer = blocks.number + (groups.keys[:, :1] >= 0)
    sizes = answer.new_zeros(len(answer), answer.shape[-1] + 1).scatter(-1, answer, blocks.size)
    means = blocks.mean.new_zeros(sizes.shape).scatter(-1, answer, blocks.mean)
    by_size = sizes[:, 1:].argsort(dim=-1, descending=True, stable=True) + 1
    order = torch.cat([torch.zeros_like(by_size[:, :1]), by_size], dim=-1)
    sizes, means = sizes.gather(-1, order), means.gather(-1, order)
    means[:, 0] = 0
    used = int(sizes.any(dim=0).nonzero().max()) + 1
    base = means[:, min(1, used - 1)]
    number = order.argsort(dim=-1).gather(-1, answer)
    return Answers(sizes[:, :used], (means - base[:, None])[:, :used], base), number


def _counted(answers: Answers, n: int, k: int, leave_out: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Compute V_k, V_k without a response of each answer, and how likely that answer wins then.

    Shapes are ``[groups]`` and twice ``[groups, answers]``, these empty unless ``leave_out``. V_k is less the base.
    """
    table = _table(n, k, answers.base.device)
    # Elections that are alike are held once.
    pairs, like = torch.unique(torch.stack([answers.sizes, answers.values], dim=-1), dim=0, return_inverse=True)
    at_once = max(_AT_ONCE // (table.lose.numel() * pairs.shape[1]), 1)
    parts = [_counted_at_once(part[..., 0], part[..., 1], table, leave_out) for part in pairs.split(at_once)]
    value, without, still_wins = (torch.cat(part)[like] for part in zip(*parts, strict=True))
    return value, without, still_wins


def _counted_at_once(sizes: Tensor, values: Tensor, table: _Table, leave_out: bool) -> tuple[Tensor, Tensor, Tensor]:
    sizes, values = sizes.long().T, values.T
    start = values.new_zeros(2, *table.lose.shape[1:], values.shape[1])
    start[0, 0] = 1
    below, above = [start], [start]
    terms = [table.of(number, size) for number, size in enumerate(sizes)]
    for (lose, win), value in zip(terms, values, strict=True):
        below.append(_times(below[-1], lose, value * win))
    of_all = below.pop()[1, -1].sum(dim=0) / table.drawn[-1, -1]
    if not leave_out:
        return of_all, of_all.new_zeros(len(of_all), 0), of_all.new_zeros(len(of_all), 0)
    for (lose, win), value in list(zip(terms, values, strict=True))[:0:-1]:
        above.append(_times(above[-1], lose, value * win))
    without, still_wins = [], []
    for number, (before, after) in enumerate(zip(below, reversed(above), strict=True)):
        lose, win = table.of(number, (sizes[number] - 1).clamp(min=0))
        wins = _convolved(before[0], win)
        plain, credit = _convolved(before[0], lose), _convolved(before[1], lose) + values[number] * wins
        others, their_credit = after.flip(1)
        without.append((credit * others + plain * their_credit).sum(dim=(0, 1)))
        still_wins.append((wins * others).sum(dim=(0, 1)))
    drawn = table.drawn[-1, -2]
    return of_all, torch.stack(without, -1) / drawn, torch.stack(still_wins, -1) / drawn


def _times(product: Tensor, lose: Tensor, win: Tensor) -> Tensor:
    """Multiply one more answer to the product of all losing, and to the sum over who wins of its value."""
    plain, credit = product
    return torch.stack([_convolved(plain, lose), _convolved(credit, lose) + _convolved(plain, win)])


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
