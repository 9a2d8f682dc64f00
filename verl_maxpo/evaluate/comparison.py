"""Evaluate runs beside each other: every data source, step and k, averages over seeds, paired differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from verl_maxpo.evaluate.dumps import Run, Samples, describe_sizes, describe_unread
from verl_maxpo.evaluate.estimates import (
    Floats,
    Interval,
    Ints,
    g_pass_at_k_by_prompt,
    majority_at_k_by_prompt,
    max_at_k_by_prompt,
    mean_interval,
    paired_proportion_interval,
    pass_at_k_by_prompt,
    pass_hat_k_by_prompt,
    proportion_interval,
    verl_best_at_k_by_prompt,
)
from verl_maxpo.evaluate.results import (
    ALL,
    G_PASS,
    MAJORITY,
    MAX,
    MOST_PROBLEMS,
    PASS,
    VERL,
    Average,
    Comparison,
    Coverage,
    Difference,
    Estimate,
    Matching,
    Problem,
    Side,
    step_order,
)


@dataclass(frozen=True)
class _Fields:
    """What the samples of a data source have.

    Attributes:
        correctness: What says whether a sample is correct: ``acc``, ``score`` or nothing.
        rewards: Whether scores say more than that, so that max@k is not pass@k.
        answers: Whether majority votes can be held.
    """

    correctness: str | None
    rewards: bool
    answers: bool


@dataclass(frozen=True)
class _Evaluated:
    """One cell of one run, by prompt; values are NaN for prompts with fewer than k samples."""

    run: Run
    prompts: dict[bytes, int]
    sizes: NDArray[np.int64]
    counts: Ints | None  # of correct samples
    values: dict[tuple[str, int], Floats]

    @property
    def solved(self) -> NDArray[np.bool_] | None:
        return None if self.counts is None else self.counts > 0


@dataclass(frozen=True)
class _Pair:
    """Two runs and the prompts that both have: their numbers in either run, and in all pairs together."""

    candidate: _Evaluated
    reference: _Evaluated
    candidate_rows: NDArray[np.int64]
    reference_rows: NDArray[np.int64]
    prompts: NDArray[np.int64]


def compare(
    runs: list[Run], ks: list[int] | None = None, n: int | None = None, reference: str | None = None
) -> Comparison:
    """Evaluate runs.

    Args:
        runs: At least one.
        ks: At least 1 each; None for the powers of two up to the median number of samples of a prompt.
        n: How many samples each prompt should have: those that are missing count as wrong, as in verl's own metrics,
            except in max@k, which leaves them out. None to count what is there.
        reference: Name of a run, with or without its seed, that all others are compared with; None for each with each.

    Returns:
        The comparison.

    Raises:
        ValueError: There is no run of that name.
    """
    reference = _label_of(reference, runs)
    ks = sorted(set(ks or _powers_of_two(runs, n or 1)))
    comparison = Comparison(ks, n, notes=[*describe_unread(runs), *describe_sizes(runs, n)])
    for source in dict.fromkeys(source for run in runs for source, _ in run.cells):
        fields = _fields(runs, source, comparison.notes)
        comparison.correctness[source] = fields.correctness
        cells = {
            (run.name, step): _evaluate(run, samples, fields, ks, n or 0)
            for run in runs
            for (name, step), samples in sorted(run.cells.items(), key=lambda cell: step_order(cell[0][1]))
            if name == source
        }
        _add_estimates(comparison, source, cells)
        _add_averages(comparison, source, cells)
        for sides in _pairs(comparison, source, runs, reference):
            _add_differences(comparison, source, *sides, cells)
    comparison.notes += _missing_samples(comparison)
    unlisted = sum(row.problems is None and row.never_solved is not None for row in comparison.coverage)
    if unlisted:
        comparison.notes.append(
            f"JSON lists the problems one by one up to {MOST_PROBLEMS:,}: {unlisted} of {len(comparison.coverage)} "
            "evaluations are without the list"
        )
    return comparison


def _label_of(name: str | None, runs: list[Run]) -> str | None:
    labels = {run.name: run.label for run in runs} | {run.label: run.label for run in runs}
    if name is not None and name not in labels:
        raise ValueError(f"the reference {name!r} is none of the runs: {', '.join(dict.fromkeys(labels.values()))}")
    return name and labels[name]


def _powers_of_two(runs: list[Run], n: int) -> list[int]:
    sizes = np.concatenate([np.bincount(samples.labels) for run in runs for samples in run.cells.values()])
    return [2**exponent for exponent in range(max(n, int(np.median(sizes))).bit_length())]


def _fields(runs: list[Run], source: str, notes: list[str]) -> _Fields:
    """Look at all samples of a data source, so that all its runs and steps have the same metrics."""
    cells = [samples for run in runs for cell, samples in run.cells.items() if cell[0] == source]
    acc = np.concatenate([np.asarray(samples.acc) for samples in cells])
    score = np.concatenate([np.asarray(samples.score) for samples in cells])
    answered = sum(np.count_nonzero(samples.pred) for samples in cells)
    if 0 < answered < len(acc):
        notes.append(f"{source}: `pred` is missing from {len(acc) - answered} of {len(acc)} samples: no maj@k is shown")
    correctness = _correctness(acc, score, source, notes)
    rewards = correctness is None or (correctness == "acc" and not np.array_equal(acc, score))
    return _Fields(correctness, rewards, answers=correctness is not None and answered == len(acc))


def _correctness(acc: Floats, score: Floats, source: str, notes: list[str]) -> str | None:
    missing = np.isnan(acc)
    others = int((~missing & (acc != 0) & (acc != 1)).sum())
    if not missing.any() and not others:
        return "acc"
    usable = bool(np.isin(score, (0, 1)).all())
    if not missing.all():
        instead = "`score`, which is 0 or 1, says what is correct" if usable else "only max@k is shown"
        reason = f"missing from {missing.sum()}" if missing.any() else f"neither 0 nor 1 in {others}"
        notes.append(f"{source}: `acc` is {reason} of {len(acc)} samples, so {instead}")
    return "score" if usable else None


def _evaluate(run: Run, samples: Samples, fields: _Fields, ks: list[int], n: int) -> _Evaluated:
    """Evaluate one cell; samples that are missing from n are wrong where correctness is known."""
    labels, scores = samples.labels, np.array(samples.score)
    values = {}
    if fields.rewards:
        values = {(MAX, k): value for k, value in max_at_k_by_prompt(labels, scores, ks).items()}
    sizes = np.bincount(labels)
    counts = None
    if fields.correctness is not None:
        missing = np.repeat(np.arange(len(sizes)), np.maximum(n - sizes, 0))
        labels, sizes = np.concatenate([labels, missing]), np.maximum(sizes, n)
        scores = correct = np.concatenate([getattr(samples, fields.correctness), np.zeros(len(missing))])
        counts = np.bincount(labels, weights=correct).astype(np.int64)
        values |= {(PASS, k): pass_at_k_by_prompt(sizes, counts, k) for k in ks}
        values |= {(ALL, k): pass_hat_k_by_prompt(sizes, counts, k) for k in ks}
        for metric, tau in G_PASS.items():
            values |= {(metric, k): g_pass_at_k_by_prompt(sizes, counts, k, tau) for k in ks}
        if fields.answers:
            answers = np.concatenate([np.array(samples.pred, dtype=np.int64), np.zeros_like(missing)])
            majority = majority_at_k_by_prompt(labels, answers, correct, ks)
            values |= {(MAJORITY, k): value for k, value in majority.items()}
    best = verl_best_at_k_by_prompt(labels, scores, ks)
    values |= {(VERL, k): value for k, value in best.items()}
    return _Evaluated(run, samples.prompts, sizes, counts, values)


def _add_estimates(comparison: Comparison, source: str, cells: dict[tuple[str, int | None], _Evaluated]) -> None:
    for (name, step), cell in cells.items():
        never = None if cell.solved is None else float(1 - cell.solved.mean())
        smallest, largest = int(cell.sizes.min()), int(cell.sizes.max())
        problems = _problems(cell, comparison)
        comparison.coverage.append(
            Coverage(name, cell.run.label, source, step, len(cell.sizes), smallest, largest, never, problems)
        )
        for (metric, k), values in cell.values.items():
            known = values[~np.isnan(values)]
            if len(known):
                row = Estimate(
                    run=name,
                    label=cell.run.label,
                    data_source=source,
                    step=step,
                    metric=metric,
                    k=k,
                    value=float(known.mean()),
                    interval=_interval(metric, known),
                    prompts=len(known),
                    too_few=len(values) - len(known),
                )
                comparison.estimates.append(row)


def _problems(cell: _Evaluated, comparison: Comparison) -> list[Problem] | None:
    listed = sum(len(row.problems or []) for row in comparison.coverage)
    if cell.counts is None or listed + len(cell.sizes) > MOST_PROBLEMS:
        return None
    rows = zip(cell.prompts, cell.sizes.tolist(), cell.counts.tolist(), strict=True)
    return [Problem(key.hex(), n, successes) for key, n, successes in rows]


def _interval(metric: str, values: Floats) -> Interval | None:
    if metric == VERL:
        return None
    return mean_interval(values) if metric == MAX else proportion_interval(values)


def _add_averages(comparison: Comparison, source: str, cells: dict[tuple[str, int | None], _Evaluated]) -> None:
    groups: dict[tuple[str, int | None, str, int], list[Estimate]] = {}
    for row in comparison.estimates:
        if row.data_source == source:
            groups.setdefault((row.label, row.step, row.metric, row.k), []).append(row)
    for (label, step, metric, k), rows in groups.items():
        values = np.array([row.value for row in rows])
        several = len(rows) > 1
        of_seeds = [cells[row.run, step] for row in rows]
        average = Average(
            label=label,
            data_source=source,
            step=step,
            metric=metric,
            k=k,
            value=float(values.mean()),
            std=float(values.std(ddof=1)) if several else None,
            interval=_interval(metric, _mean_over_seeds(of_seeds, metric, k)) if several else rows[0].interval,
            seeds=len(rows),
        )
        comparison.averages.append(average)


def _mean_over_seeds(cells: list[_Evaluated], metric: str, k: int) -> Floats:
    """Return the mean over the runs that know a prompt, for each prompt that one knows."""
    values: dict[bytes, list[float]] = {}
    for cell in cells:
        for prompt, value in zip(cell.prompts, cell.values[metric, k].tolist(), strict=True):
            if not np.isnan(value):
                values.setdefault(prompt, []).append(value)
    return np.array([sum(of_prompt) / len(of_prompt) for of_prompt in values.values()])


def _pairs(comparison: Comparison, source: str, runs: list[Run], reference: str | None) -> Iterator[tuple[Side, Side]]:
    """Yield what is compared, as candidate and reference."""
    labels = list(dict.fromkeys(run.label for run in runs))
    steps = {label: comparison.steps(label, source) for label in labels}
    pairs = combinations(labels, 2) if reference is None else [(reference, of) for of in labels if of != reference]
    for label in labels:
        if len(steps[label]) > 1:
            yield Side(label, steps[label][-1]), Side(label, steps[label][0])
    for first, second in pairs:
        common = [step for step in steps[first] if step in steps[second]]
        if common:
            yield Side(second, common[-1]), Side(first, common[-1])
        elif reference and steps[first] and steps[second]:  # such as a model that was not trained
            yield Side(second, steps[second][-1]), Side(first, steps[first][-1])
        elif steps[first] and steps[second]:
            comparison.notes.append(f"{source}: {first} and {second} have no step in common and are not compared")


def _add_differences(
    comparison: Comparison,
    source: str,
    candidate: Side,
    reference: Side,
    cells: dict[tuple[str, int | None], _Evaluated],
) -> None:
    pairs = _pairs_of_runs(candidate, reference, cells)
    everything = {key for pair in pairs for cell in (pair.candidate, pair.reference) for key in cell.prompts}
    matched = len(set(np.concatenate([pair.prompts for pair in pairs]).tolist()))
    only = _only_one_solves(pairs)
    comparison.matchings.append(Matching(candidate, reference, source, matched, len(everything) - matched, *only))
    for metric, k in pairs[0].candidate.values:
        if metric != VERL and all((metric, k) in cell.values for p in pairs for cell in (p.candidate, p.reference)):
            by_pair = [_differences(pair, metric, k) for pair in pairs]
            over_prompts = _mean_by_prompt(pairs, by_pair)
            if len(over_prompts):
                row = Difference(
                    candidate=candidate,
                    reference=reference,
                    data_source=source,
                    metric=metric,
                    k=k,
                    value=float(over_prompts.mean()),
                    interval=(mean_interval if metric == MAX else paired_proportion_interval)(over_prompts),
                    std=_std(pairs, by_pair),
                    prompts=len(over_prompts),
                )
                comparison.differences.append(row)


def _pairs_of_runs(candidate: Side, reference: Side, cells: dict[tuple[str, int | None], _Evaluated]) -> list[_Pair]:
    candidates, references = (
        [cell for (_, step), cell in cells.items() if (cell.run.label, step) == (side.label, side.step)]
        for side in (candidate, reference)
    )
    same_seed = [(a, b) for a in candidates for b in references if a.run.seed == b.run.seed]
    number: dict[bytes, int] = {}
    return [_match(a, b, number) for a, b in same_seed or product(candidates, references)]


def _match(candidate: _Evaluated, reference: _Evaluated, number: dict[bytes, int]) -> _Pair:
    """Find the prompts that two runs share, and give each a number that it has in all pairs."""
    keys = [key for key in candidate.prompts if key in reference.prompts]
    candidate_rows = np.array([candidate.prompts[key] for key in keys], dtype=np.int64)
    reference_rows = np.array([reference.prompts[key] for key in keys], dtype=np.int64)
    prompts = np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)
    return _Pair(candidate, reference, candidate_rows, reference_rows, prompts)


def _differences(pair: _Pair, metric: str, k: int) -> Floats:
    """Return the difference of each matched prompt, NaN for one with fewer than k samples."""
    candidate = pair.candidate.values[metric, k][pair.candidate_rows]
    difference: Floats = candidate - pair.reference.values[metric, k][pair.reference_rows]
    return difference


def _mean_by_prompt(pairs: list[_Pair], by_pair: list[Floats]) -> Floats:
    """Return the mean over the pairs that know a prompt, for each prompt that one knows."""
    prompts, values = np.concatenate([pair.prompts for pair in pairs]), np.concatenate(by_pair)
    known = ~np.isnan(values)
    counts = np.bincount(prompts[known])
    return np.bincount(prompts[known], weights=values[known])[counts > 0] / counts[counts > 0]


def _std(pairs: list[_Pair], by_pair: list[Floats]) -> float | None:
    if any(pair.candidate.run.seed != pair.reference.run.seed for pair in pairs):
        return None
    means = [np.nanmean(values) for values in by_pair if not np.isnan(values).all()]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def _only_one_solves(pairs: list[_Pair]) -> tuple[float, float] | tuple[None, None]:
    fractions = []
    for pair in pairs:
        if pair.candidate.solved is None or pair.reference.solved is None:
            return None, None
        candidate = pair.candidate.solved[pair.candidate_rows]
        reference = pair.reference.solved[pair.reference_rows]
        if len(candidate):
            fractions.append(((candidate & ~reference).mean(), (reference & ~candidate).mean()))
    if not fractions:
        return None, None
    only_candidate, only_reference = np.mean(fractions, axis=0).tolist()
    return only_candidate, only_reference


def _missing_samples(comparison: Comparison) -> Iterator[str]:
    """Say where prompts have fewer than k samples."""
    metric = {source: comparison.main_metric(source) for source in {row.data_source for row in comparison.estimates}}
    missing: dict[tuple[str, str, int], list[Estimate]] = {}
    for row in comparison.estimates:
        if row.too_few and row.metric == metric[row.data_source]:
            missing.setdefault((row.run, row.data_source, row.k), []).append(row)
    for (run, source, k), rows in missing.items():
        worst = max(rows, key=lambda row: row.too_few)
        where = "" if worst.step is None else f" at step {worst.step}"
        more = f", fewer or as many at {len(rows) - 1} other steps" if len(rows) > 1 else ""
        count = f"{worst.too_few} of {worst.prompts + worst.too_few} prompts"
        yield f"{run}, {source}: {count} have fewer than {k} samples and do not count for k={k}{where}{more}"
    shown = {row.k for row in comparison.estimates}
    for k in comparison.ks:
        if k not in shown:
            yield f"no prompt has {k} samples: nothing is shown for k={k}"
