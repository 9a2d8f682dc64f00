"""Compute what each k would have given on the rewards of a rollout dump, to choose k and the group size n from data.

``verl-maxpo choose-k --help`` explains the columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from verl_maxpo.best_of_k.baselines import BASELINES
from verl_maxpo.best_of_k.estimates import max_at_k
from verl_maxpo.best_of_k.groups import ranked_groups
from verl_maxpo.best_of_k.kinds import KINDS, kinds_of_groups
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.best_of_k.ranks import ranked_advantages
from verl_maxpo.evaluate.dumps import Run, Samples
from verl_maxpo.evaluate.estimates import Floats, Ints
from verl_maxpo.evaluate.remarks import remarks
from verl_maxpo.evaluate.results import step_order
from verl_maxpo.evaluate.tables import Table, number

LEGEND = (
    "nonzero: samples whose MaxPO advantage is not 0. gain: unbiased max@k minus max@1 on this dump, which is what "
    "taking the best of k gains now. Mean squares include the factor k, as advantages in training do."
)


#: To be recommended, a larger k must keep at least this share of the groups with a signal.
_KEPT = 0.9


@dataclass(frozen=True)
class Choice:
    """What one k would have given with groups of one size.

    Attributes:
        dump: Name of the dump.
        n: Size of the groups; the largest one if they differ.
        k: The K of max@K.
        groups: Number of groups.
        kinds: Fraction of each kind of group (:data:`verl_maxpo.best_of_k.kinds.KINDS`), summing to 1.
        nonzero: Fraction of samples whose advantage with ``l2o`` is not 0.
        max_at_k: Unbiased max@k of the dump, over the groups with at least k samples.
        gain: ``max_at_k`` minus max@1 of the same groups.
        mean_square: Mean square of the advantages by baseline, including the factor k.
    """

    dump: str
    n: int
    k: int
    groups: int
    kinds: dict[str, float]
    nonzero: float
    max_at_k: float
    gain: float
    mean_square: dict[str, float]


@dataclass
class Choices:
    """The choices for all dumps.

    Attributes:
        rows: One for each dump, n and k.
        notes: What is not shown, and why.
        advice: For each dump, which k to take and why.
    """

    rows: list[Choice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def choose_k(
    runs: list[Run], ks: list[int] | None = None, ns: list[int] | None = None, *, all_steps: bool = False
) -> Choices:
    """Compute what each k would have given.

    Args:
        runs: Dumps.
        ks: At least 1 each; None for the powers of two below n.
        ns: Smaller group sizes to try. Their groups are drawn from the dump's groups without replacement.
        all_steps: Combine all steps of a run, even if they have the same prompts.

    Returns:
        The choices. A k needs k + 1 samples; if n is smaller than that, a note says that k is left out.
    """
    choices = Choices(notes=[*remarks(runs)])
    for run in runs:
        batches = _batches(run, all_steps, choices.notes)
        n = max(int(np.bincount(batch.labels).max()) for batch in batches)
        if n == 1:
            choices.notes.append(
                f"{run.name}: every prompt has one response, but a group needs at least two: raise "
                "actor_rollout_ref.rollout.n, or rollout.val_kwargs.n for a validation"
            )
            continue
        groups = [ranked for batch in batches for ranked in _ranked(batch.score, batch.labels)]
        measured = _choices(run.name, n, groups, ks, choices.notes)
        choices.rows += measured
        for size in sorted(set(ns or []) - {n}, reverse=True):
            drawn = [ranked for batch in batches for ranked in _ranked(*_drawn(batch, size))]
            if drawn:
                choices.rows += _choices(run.name, size, drawn, ks, choices.notes)
            else:
                choices.notes.append(f"{run.name}: n={size} is not shown, as no group has that many responses")
        if measured:
            choices.advice.append(f"{run.name}: {_advice(measured)}")
    return choices


def _choices(name: str, n: int, groups: list[Tensor], ks: list[int] | None, notes: list[str]) -> list[Choice]:
    """Return the choices for one n, and note each k that needs a larger one."""
    chosen = sorted(set(ks or [2**exponent for exponent in range((n - 1).bit_length())]))
    notes += [f"{name}: k={k} is not shown for n={n}, as it needs k + 1 responses" for k in chosen if k >= n]
    return [_choice(name, n, k, groups) for k in chosen if k < n]


def _batches(run: Run, all_steps: bool, notes: list[str]) -> list[Samples]:
    """Return the samples of a run. If its steps share their prompts, return only the last step."""
    steps: dict[int | None, list[Samples]] = {}
    for (_, step), samples in sorted(run.cells.items(), key=lambda cell: step_order(cell[0][1])):
        steps.setdefault(step, []).append(samples)
    prompts = [{key for samples in found for key in samples.prompts} for found in steps.values()]
    if all_steps or len(steps) == 1 or 2 * len(prompts[0] & prompts[-1]) < len(prompts[-1]):
        return [samples for found in steps.values() for samples in found]
    *others, chosen = steps
    notes.append(
        f"{run.name}: step {chosen} is shown, not {', '.join(map(str, others))}, because the steps have the same "
        "prompts; --all-steps combines them"
    )
    return steps[chosen]


def _advice(rows: list[Choice]) -> str:
    """Say which k to take: the largest k up to n/2 that keeps the signal, if the best of k gains anything."""
    n, most = rows[0].n, max(row.kinds["signal"] for row in rows)
    if most == 0:
        return "none of these k gives a signal: take other problems or a larger n"
    usable = [row for row in rows if 2 * row.k <= n and row.kinds["signal"] >= _KEPT * most]
    if not usable:
        return f"try a smaller k: each of these is above n/2 or loses more than {1 - _KEPT:.0%} of the signal"
    best = usable[-1]
    signal = f"{number(best.kinds['signal'])} of the groups have one; with the best k shown, {number(most)} do"
    if best.k == 1 or best.gain <= 0:
        lost = f"{1 - _KEPT:.0%} of the signal"
        return f"take k=1: each larger k shown is above n/2, gains nothing or loses more than {lost} ({signal})"
    return (
        f"take k near the number of tries that you deploy, up to k={best.k}: the largest shown that is at most n/2 and "
        f"keeps {_KEPT:.0%} of the signal ({signal}): the best of {best.k} gains {number(best.gain)}"
    )


def _ranked(score: Floats, labels: Ints) -> list[Tensor]:
    """Return the rewards of each group by rank, ``[groups, n]`` for each size n."""
    return [groups.rewards for groups in ranked_groups(torch.from_numpy(score), torch.from_numpy(labels))]


def _drawn(batch: Samples, n: int) -> tuple[Floats, Ints]:
    """Draw groups of n from each larger group until fewer than n of its samples are left; return scores and labels."""
    shuffled = np.random.default_rng(0).permutation(len(batch))
    order = shuffled[np.argsort(batch.labels[shuffled], kind="stable")]
    labels, sizes = batch.labels[order], np.bincount(batch.labels)
    place = np.arange(len(order)) - (sizes.cumsum() - sizes)[labels]
    whole = place < sizes[labels] // n * n
    groups = (labels * len(order) + place // n)[whole]
    return batch.score[order][whole], np.unique(groups, return_inverse=True)[1]


def _choice(name: str, n: int, k: int, groups: list[Tensor]) -> Choice:
    usable = [ranked for ranked in groups if ranked.shape[1] >= k]
    best = _mean([max_at_k(ranked, k) for ranked in usable])
    advantages = {
        baseline: [_advantages(ranked, Objective.of(k, baseline=baseline)) for ranked in groups]
        for baseline in BASELINES
    }
    kinds = [
        kinds_of_groups(ranked, found, Objective.of(k)) for ranked, found in zip(groups, advantages["l2o"], strict=True)
    ]
    return Choice(
        dump=name,
        n=n,
        k=k,
        groups=sum(map(len, groups)),
        kinds={kind: _mean([of_size[kind] for of_size in kinds]) for kind in KINDS},
        nonzero=_mean([found != 0 for found in advantages["l2o"]]),
        max_at_k=best,
        gain=best - _mean([ranked.mean(dim=1) for ranked in usable]),
        mean_square={name: _mean([found.square() for found in values]) for name, values in advantages.items()},
    )


def _advantages(ranked: Tensor, objective: Objective) -> Tensor:
    if ranked.shape[1] < objective.smallest_group:
        return torch.zeros_like(ranked)
    return ranked_advantages(ranked, objective)


def _mean(values: list[Tensor]) -> float:
    return float(torch.cat([value.double().flatten() for value in values]).mean())


def tables(choices: Choices) -> Iterator[Table]:
    """Make two tables for each dump: one of groups and gain, one of mean squares."""
    for dump in dict.fromkeys(row.dump for row in choices.rows):
        rows = [row for row in choices.rows if row.dump == dump]
        yield Table(
            f"{dump}: groups with signal, and gain of the best of k",
            ["n, k", "groups", *map(_heading, KINDS), "nonzero", "max@k", "gain"],
            [
                [f"{row.n}, {row.k}", str(row.groups)]
                + [number(value) for value in (*row.kinds.values(), row.nonzero, row.max_at_k, row.gain)]
                for row in rows
            ],
        )
        yield Table(
            f"{dump}: mean square of the advantages, by baseline",
            ["n, k", *map(_heading, BASELINES)],
            [[f"{row.n}, {row.k}"] + [number(row.mean_square[name]) for name in BASELINES] for row in rows],
        )


def _heading(name: str) -> str:
    return name.removesuffix("_successes").replace("_", "\n").replace("undersized", "under-\nsized")
