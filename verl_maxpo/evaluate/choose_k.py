"""What each k would have given on the rewards of a rollout dump, so that k and the group size n are chosen from data.

``verl-maxpo choose-k --help`` says what the columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import hypergeom

from verl_maxpo.best_of_k.advantages import labelled_max_at_k_advantages, ranked_advantages
from verl_maxpo.best_of_k.baselines import BASELINES
from verl_maxpo.best_of_k.groups import ranked_groups
from verl_maxpo.best_of_k.kinds import KINDS, shares_of_kinds
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.evaluate.dumps import Run, Samples, describe_sizes, describe_unread
from verl_maxpo.evaluate.estimates import Floats, Ints, max_at_k_by_prompt
from verl_maxpo.evaluate.tables import Table, number

LEGEND = (
    "nonzero: samples whose MaxPO advantage is not 0. gain: unbiased max@k less max@1 on this dump, what taking the "
    "best of k gives now. Mean squares hold the factor k, as advantages in training do."
)


#: The share of groups with a signal that a larger k must keep to be recommended.
_KEPT = 0.9


@dataclass(frozen=True)
class Choice:
    """What one k would have given with groups of one size.

    Attributes:
        dump: Name of the dump.
        n: Size of the groups, the largest where they differ.
        k: The K of max@K.
        groups: Number of groups.
        kinds: Fraction of each kind of group (:data:`verl_maxpo.best_of_k.kinds.KINDS`), summing to 1.
        nonzero: Fraction of samples whose advantage with ``l2o`` is not 0.
        max_at_k: Unbiased max@k of the dump, over the groups with at least k samples.
        gain: ``max_at_k`` less max@1 of the same groups.
        mean_square: Mean square of the advantages, with the factor k, by baseline.
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
    """All of them.

    Attributes:
        rows: By dump, n and k.
        notes: What is not shown, and why.
        advice: For each dump which k to take, and why.
    """

    rows: list[Choice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def choose_k(runs: list[Run], ks: list[int] | None = None, ns: list[int] | None = None) -> Choices:
    """Compute what each k would have given.

    Args:
        runs: Dumps read with ``by_uid=True``; each step of a run is one batch.
        ks: At least 1 each; None for the powers of two below n.
        ns: Smaller sizes of the groups that are shown too.

    Returns:
        The choices. A k that needs more than n samples (k + 1) is left out, with a note.
    """
    choices = Choices(notes=[*describe_unread(runs), *describe_sizes(runs)])
    for run in runs:
        batches = list(run.cells.values())
        n = max(int(np.bincount(batch.labels).max()) for batch in batches)
        for size in sorted({n, *(ns or [])}, reverse=True):
            chosen = sorted(set(ks or [2**exponent for exponent in range((size - 1).bit_length())]))
            for k in chosen:
                if k >= size:
                    choices.notes.append(f"{run.name}: k={k} is not shown for n={size}, as it needs k + 1 responses")
            usable = [k for k in chosen if k < size]
            if size == n:
                choices.rows += [_measured(run.name, batches, n, k) for k in usable]
            else:
                choices.rows += _subsampled(run.name, batches, size, usable, choices.notes)
        measured = [row for row in choices.rows if (row.dump, row.n) == (run.name, n)]
        if measured:
            choices.advice.append(f"{run.name}: {_advice(measured)}")
    return choices


def _advice(rows: list[Choice]) -> str:
    """Say which k to take: the largest up to n/2 that keeps the signal, if the best of k gains anything."""
    n, most = rows[0].n, max(row.kinds["signal"] for row in rows)
    if most == 0:
        return "no k shown gives a signal: take other problems or a larger n"
    usable = [row for row in rows if 2 * row.k <= n and row.kinds["signal"] >= _KEPT * most]
    if not usable:
        return f"try a smaller k, as those shown are above n/2 or lose more than {1 - _KEPT:.0%} of the signal"
    best = usable[-1]
    signal = f"{number(best.kinds['signal'])} of the groups have one, of at most {number(most)}"
    if best.k == 1 or best.gain <= 0:
        lost = f"{1 - _KEPT:.0%} of the signal"
        return f"take k=1, as any larger k shown is above n/2, gains nothing or loses more than {lost} ({signal})"
    return (
        f"take k near the number of tries that you deploy, up to k={best.k}, the largest shown that is at most n/2 and "
        f"keeps {_KEPT:.0%} of the signal ({signal}): the best of {best.k} gains {number(best.gain)}"
    )


def _measured(name: str, batches: list[Samples], n: int, k: int) -> Choice:
    parts = [_in_batch(batch, k) for batch in batches]
    samples, groups = [len(batch) for batch in batches], [len(batch.prompts) for batch in batches]
    kinds, advantages = [kinds for kinds, _ in parts], [by_baseline for _, by_baseline in parts]
    nonzero = [np.mean(by_baseline["l2o"] != 0) for by_baseline in advantages]
    best, gain = _gain(batches, k)
    return Choice(
        dump=name,
        n=n,
        k=k,
        groups=sum(groups),
        kinds={kind: float(np.average([shares[kind] for shares in kinds], weights=groups)) for kind in KINDS},
        nonzero=float(np.average(nonzero, weights=samples)),
        max_at_k=best,
        gain=gain,
        mean_square={
            baseline: float(np.mean(np.concatenate([of[baseline] for of in advantages]) ** 2)) for baseline in BASELINES
        },
    )


def _in_batch(batch: Samples, k: int) -> tuple[dict[str, float], dict[str, Floats]]:
    """Return the fraction of each kind of group, and the advantages by baseline."""
    rewards, labels = torch.tensor(batch.score, dtype=torch.float64), torch.from_numpy(batch.labels)
    sizes = labels.bincount()
    shares = shares_of_kinds(ranked_groups(rewards, labels, sizes), Objective.of(k))
    advantages = {
        name: labelled_max_at_k_advantages(rewards, labels, sizes, Objective.of(k, baseline=name)).numpy()
        for name in BASELINES
    }
    return {kind: float(share) for kind, share in shares.items()}, advantages


def _gain(batches: list[Samples], k: int) -> tuple[float, float]:
    """Return max@k and its gain over max@1, over the groups with at least k samples."""
    values = [max_at_k_by_prompt(batch.labels, np.array(batch.score), [1, k]) for batch in batches]
    one, best = (np.concatenate([value[at] for value in values]) for at in (1, k))
    enough = ~np.isnan(best)
    return float(best[enough].mean()), float((best - one)[enough].mean())


def _subsampled(name: str, batches: list[Samples], n: int, ks: list[int], notes: list[str]) -> list[Choice]:
    """Return the expectation over groups of n drawn from larger ones."""
    if not all(np.isin(np.asarray(batch.score), (0, 1)).all() for batch in batches):
        notes.append(f"{name}: n={n} is not shown, as there is a closed form for rewards of 0 and 1 only")
        return []
    sizes, correct = (np.concatenate(parts) for parts in zip(*map(_counts, batches), strict=True))
    enough = sizes >= n
    if not enough.any():
        notes.append(f"{name}: n={n} is not shown, as no group has that many responses")
        return []
    if not enough.all():
        notes.append(f"{name}: {(~enough).sum()} of {len(sizes)} groups have fewer than {n} responses and do not count")
    right = np.arange(n + 1)
    chance = hypergeom.pmf(right, sizes[enough, None], correct[enough, None], n).mean(axis=0)
    return [_expected(name, batches, chance, n, k, int(enough.sum())) for k in ks]


def _counts(batch: Samples) -> tuple[Ints, Ints]:
    return np.bincount(batch.labels), np.bincount(batch.labels, weights=np.array(batch.score)).astype(np.int64)


def _expected(name: str, batches: list[Samples], chance: Floats, n: int, k: int, groups: int) -> Choice:
    """Average over the number of right responses of a group, whose probabilities are ``chance``, ``[n + 1]``."""
    right = np.arange(n + 1)
    all_fail, all_equal, too_many = right == 0, right == n, (right > n - k) & (right < n)
    kind_of = {"all_fail": all_fail, "all_equal": all_equal, "too_many_successes": too_many}
    kind_of["signal"] = ~(all_fail | all_equal | too_many)
    kind_of["undersized"] = np.zeros_like(all_fail)
    rewards = torch.from_numpy((np.arange(n) >= n - right[:, None]).astype(float))  # ascending, for each number right
    mean_square = {}
    for baseline in BASELINES:
        squares = ranked_advantages(rewards, Objective.of(k, baseline=baseline)).square().mean(dim=-1).numpy()
        mean_square[baseline] = float(chance @ squares)
    best, gain = _gain(batches, k)
    return Choice(
        dump=name,
        n=n,
        k=k,
        groups=groups,
        kinds={kind: float(chance @ kind_of[kind]) for kind in KINDS},
        nonzero=float(chance @ kind_of["signal"]),
        max_at_k=best,
        gain=gain,
        mean_square=mean_square,
    )


def tables(choices: Choices) -> Iterator[Table]:
    """Make the tables.

    Args:
        choices: What to show.

    Yields:
        For each dump one of groups and gain and one of mean squares.
    """
    for dump in dict.fromkeys(row.dump for row in choices.rows):
        rows = [row for row in choices.rows if row.dump == dump]
        yield Table(
            f"{dump}: groups with signal, and gain of the best of k",
            ["n", "k", "groups", *(_heading(kind) for kind in KINDS), "nonzero", "max@k", "gain"],
            [
                [str(row.n), str(row.k), str(row.groups)]
                + [number(value) for value in (*row.kinds.values(), row.nonzero, row.max_at_k, row.gain)]
                for row in rows
            ],
        )
        yield Table(
            f"{dump}: mean square of the advantages, by baseline",
            ["n", "k", *map(_heading, BASELINES)],
            [[str(row.n), str(row.k)] + [number(row.mean_square[name]) for name in BASELINES] for row in rows],
        )


def _heading(name: str) -> str:
    return name.replace("_", "\n").replace("undersized", "under-\nsized")
