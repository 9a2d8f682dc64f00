"""Evaluate runs and compare them: every data source, step and k, averages over seeds, paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product

import numpy as np

from verl_maxpo.evaluate.dumps import STATUSES, VOTE, Run, Samples
from verl_maxpo.evaluate.estimates import (
    Floats,
    Interval,
    Ints,
    by_prompt,
    g_pass_at_k,
    mean_interval,
    paired_proportion_interval,
    proportion_interval,
)
from verl_maxpo.evaluate.names import without_seed
from verl_maxpo.evaluate.remarks import remarks
from verl_maxpo.evaluate.results import (
    ALL,
    G_PASS,
    GAP,
    MAJORITY,
    MAX,
    MAX_LISTED_PROBLEMS,
    METRICS,
    PASS,
    SELECTED,
    Comparison,
    Coverage,
    Difference,
    Estimate,
    Matching,
    PromptCounts,
    Side,
    step_order,
)
from verl_maxpo.evaluate.settings import trained_ks


@dataclass(frozen=True)
class _Fields:
    """Which fields the samples of a data source have.

    Attributes:
        correctness: The field that says whether a sample is correct: ``acc``, ``score`` or None.
        rewards: Whether scores differ from correctness, so that max@k is not pass@k.
        answers: Whether the answers can be used for majority votes.
        select_by: The column, or ``vote``, by which deployment chooses one of k.
    """

    correctness: str | None
    rewards: bool
    answers: bool
    select_by: str | None

    def is_of_scores(self, metric: str) -> bool:
        """Return whether a metric averages scores, which have no known bounds."""
        of_votes = self.correctness is None
        chosen = {SELECTED: self.rewards, MAJORITY: of_votes, GAP: of_votes if self.select_by == VOTE else self.rewards}
        return metric == MAX or chosen.get(metric, False)


@dataclass(frozen=True)
class _Evaluated:
    """One cell of one run: values by prompt, NaN where a prompt has fewer than k samples."""

    run: Run
    step: int | None
    samples: Samples
    numbers: Ints  # of the prompts, the same in all runs
    sizes: Ints
    counts: Ints | None  # of correct samples
    values: dict[tuple[str, int], Floats]


def compare(
    runs: list[Run],
    ks: list[int] | None = None,
    n: int | None = None,
    reference: str | None = None,
    select_by: str | None = None,
) -> Comparison:
    """Evaluate runs and compare them.

    Args:
        runs: At least one.
        ks: At least 1 each; None for the powers of two up to the median number of samples of a prompt, and the K that
            runs were trained with.
        n: How many samples each prompt should have. Missing samples count as wrong, as in verl's own metrics, except
            in max@k, which leaves them out. None to use the samples that there are.
        reference: Name of the run to compare all others with, with or without its seed; None to compare each with each.
        select_by: How deployment chooses one of k responses: by the column that the runs were read with, or by
            ``vote``.

    Returns:
        The comparison.

    Raises:
        ValueError: No run has the name ``reference``, or there are no votes to count.
    """
    reference = _label_of(reference, runs)
    trained = {run.label: found for run in runs if (found := trained_ks(run))}
    ks = sorted(set(ks or _default_ks(runs, n or 1, trained)))
    comparison = Comparison(ks, n, select_by, trained, notes=[*remarks(runs, n)])
    for source in dict.fromkeys(source for run in runs for source, _ in run.cells):
        fields = _fields(runs, source, select_by, comparison.notes)
        comparison.correctness[source] = fields.correctness
        numbers: dict[bytes, int] = {}
        sides: dict[Side, list[_Evaluated]] = {}
        for run in runs:
            for (name, step), samples in sorted(run.cells.items(), key=lambda cell: step_order(cell[0][1])):
                if name == source:
                    cell = _evaluate(run, step, samples, fields, comparison, numbers)
                    sides.setdefault(Side(run.label, step), []).append(cell)
                    comparison.coverage.append(_coverage(comparison, source, cell))
                    comparison.estimates += _estimates(source, Side(run.label, step), [cell], fields, run.name)
        for side, cells in sides.items():
            comparison.averages += _estimates(source, side, cells, fields)
        for pair in _pairs(comparison, source, runs, reference):
            _add_differences(comparison, source, *pair, sides, fields)
    comparison.notes += [*_without_common_source(runs, reference), *_missing_samples(comparison)]
    return comparison


def _label_of(name: str | None, runs: list[Run]) -> str | None:
    labels = {name: run.label for run in runs for name in (run.name, without_seed(run.name), run.label)}
    if name is not None and name not in labels:
        known = ", ".join(dict.fromkeys(without_seed(run.name) for run in runs))
        raise ValueError(f"the reference {name!r} is not one of the runs: {known}")
    return name and labels[name]


def _default_ks(runs: list[Run], n: int, trained: dict[str, list[int]]) -> list[int]:
    sizes = np.concatenate([np.bincount(samples.labels) for run in runs for samples in run.cells.values()])
    n = max(n, int(np.median(sizes)))
    return [2**exponent for exponent in range(n.bit_length())] + [k for ks in trained.values() for k in ks if k <= n]


def _fields(runs: list[Run], source: str, select_by: str | None, notes: list[str]) -> _Fields:
    """Find out what all samples of a data source have, so that all its runs and steps get the same metrics."""
    cells = [samples for run in runs for cell, samples in run.cells.items() if cell[0] == source]
    acc, score, selector = (
        np.concatenate([getattr(samples, name) for samples in cells]) for name in ("acc", "score", "selector")
    )
    answered = any(samples.answer.any() for samples in cells)
    without = sum(samples.without_answer for samples in cells)
    if answered and without:
        notes.append(f"{source}: {without} of {len(acc)} samples have no column `answer` or `pred`: no maj@k is shown")
    if select_by == VOTE and (without or not answered):
        raise ValueError(
            f"--select-by {VOTE} needs the answers in a column `answer` (`pred` in older dumps): {source} has "
            f"{len(acc) - without} such samples of {len(acc)}{'' if answered else ', and none with an answer'}"
        )
    unselected = int(np.isnan(selector).sum())
    if select_by not in (None, VOTE) and unselected:
        notes.append(
            f"{source}: {unselected} of {len(acc)} samples have no number in `{select_by}`: one of them is selected "
            "only if none of the k samples has a number"
        )
    correctness = _correctness(acc, score, source, notes)
    rewards = correctness is None or (correctness == "acc" and not np.array_equal(acc, score))
    answers = answered and not without and (correctness is not None or select_by == VOTE)
    return _Fields(correctness, rewards, answers, select_by)


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


def _evaluate(
    run: Run, step: int | None, samples: Samples, fields: _Fields, comparison: Comparison, numbers: dict[bytes, int]
) -> _Evaluated:
    """Evaluate one cell; if correctness is known, samples missing from n count as wrong."""
    ks, sizes = comparison.ks, np.bincount(samples.labels)
    missing = np.repeat(np.arange(len(sizes)), np.maximum((comparison.n or 0) - sizes, 0))
    scored = _columns(samples, "score", missing[:0])
    judged = scored if fields.correctness is None else _columns(samples, fields.correctness, missing)
    metrics: dict[str, dict[int, Floats]] = {}
    if fields.rewards:
        metrics[MAX] = by_prompt(ks, *scored[:2])
    counts = None
    if fields.correctness is not None:
        sizes, counts = np.bincount(judged[0]), np.bincount(*judged[:2]).astype(np.int64)
        metrics |= _of_correct(ks, *judged[:2])
    if fields.answers:
        metrics[MAJORITY] = by_prompt(ks, *judged[:3], "vote")
    if fields.select_by not in (None, VOTE):
        labels, values, _, selector = scored if fields.rewards else judged
        metrics[SELECTED] = by_prompt(ks, labels, values, selector, "score")
    if fields.select_by:
        best = PASS if fields.correctness and (fields.select_by == VOTE or not fields.rewards) else MAX
        chosen = metrics[MAJORITY if fields.select_by == VOTE else SELECTED]
        metrics[GAP] = {k: np.maximum(metrics[best][k] - chosen[k], 0) for k in ks}  # rounding could go below 0
    values_of = {(metric, k): values for metric in METRICS for k, values in metrics.get(metric, {}).items()}
    numbers_of = np.array([numbers.setdefault(key, len(numbers)) for key in samples.prompts], dtype=np.int64)
    return _Evaluated(run, step, samples, numbers_of, sizes, counts, values_of)


def _columns(samples: Samples, field: str, missing: Ints) -> tuple[Ints, Floats, Ints, Floats]:
    """Return labels, values, answers and selectors, with empty entries appended for the missing samples."""
    nothing = np.zeros(len(missing))
    return (
        np.concatenate([samples.labels, missing]),
        np.concatenate([getattr(samples, field), nothing]),
        np.concatenate([samples.answer, nothing.astype(np.int64)]),
        np.concatenate([samples.selector, nothing * np.nan]),
    )


def _of_correct(ks: list[int], labels: Ints, correct: Floats) -> dict[str, dict[int, Floats]]:
    """Return the metrics that need nothing but correctness."""
    all_correct = {k: 1 - any_wrong for k, any_wrong in by_prompt(ks, labels, 1 - correct).items()}
    metrics = {PASS: by_prompt(ks, labels, correct), ALL: all_correct}
    for metric, tau in G_PASS.items():
        metrics[metric] = by_prompt(ks, labels, correct, value=partial(g_pass_at_k, tau=tau))
    return metrics


def _interval(values: Floats, metric: str, fields: _Fields) -> Interval | None:
    return mean_interval(values) if fields.is_of_scores(metric) else proportion_interval(values)


def _coverage(comparison: Comparison, source: str, cell: _Evaluated) -> Coverage:
    about = cell.run.name, cell.run.label, source, cell.step
    sizes = len(cell.sizes), int(cell.sizes.min()), int(cell.sizes.max())
    never = None if cell.counts is None else float((cell.counts == 0).mean())
    return Coverage(*about, *sizes, never, _statuses(cell.samples), _problems(cell, comparison))


def _estimates(
    source: str, side: Side, cells: list[_Evaluated], fields: _Fields, run: str | None = None
) -> Iterator[Estimate]:
    """Yield the estimates for one run, or for all seeds of a side together."""
    everything = len(np.unique(np.concatenate([cell.numbers for cell in cells])))
    for metric, k in cells[0].values:
        parts = [(cell.numbers, cell.values[metric, k]) for cell in cells]
        over_prompts, means = _mean_by_prompt(parts), _means([values for _, values in parts])
        if means:
            interval, std = _interval(over_prompts, metric, fields), _std(means)
            sizes = len(means), len(over_prompts), everything - len(over_prompts)
            about = side.label, source, side.step, metric, k
            yield Estimate(*about, float(np.mean(means)), interval, std, *sizes, run)


def _statuses(samples: Samples) -> dict[str, float] | None:
    if (samples.status < 0).any() or STATUSES.index("unscored") in samples.status:
        return None
    counts = np.bincount(samples.status, minlength=len(STATUSES)) / len(samples)
    return {status: float(share) for status, share in zip(STATUSES, counts, strict=True) if status != "unscored"}


def _problems(cell: _Evaluated, comparison: Comparison) -> list[PromptCounts] | None:
    if cell.counts is None:
        return None
    listed = sum(len(row.problems or []) for row in comparison.coverage)
    if listed + len(cell.sizes) > MAX_LISTED_PROBLEMS:
        remark = (
            f"the JSON lists at most {MAX_LISTED_PROBLEMS:,} problems one by one: some evaluations have no such list"
        )
        comparison.notes += [] if remark in comparison.notes else [remark]
        return None
    rows = zip(cell.samples.prompts, cell.sizes.tolist(), cell.counts.tolist(), strict=True)
    return [PromptCounts(key.hex(), n, successes) for key, n, successes in rows]


def _mean_by_prompt(parts: list[tuple[Ints, Floats]]) -> Floats:
    """Return the mean for each prompt, over the parts with a value for it; leave out prompts that are NaN in all."""
    numbers, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    usable = ~np.isnan(values)
    counts = np.bincount(numbers[usable])
    return np.bincount(numbers[usable], weights=values[usable])[counts > 0] / counts[counts > 0]


def _to_compare(labels: Iterable[str], reference: str | None) -> list[tuple[str, str]]:
    """Return the pairs of labels to compare, the reference first."""
    labels = list(dict.fromkeys(labels))
    return [(reference, label) for label in labels if label != reference] if reference else [*combinations(labels, 2)]


def _pairs(comparison: Comparison, source: str, runs: list[Run], reference: str | None) -> Iterator[tuple[Side, Side]]:
    """Yield the sides to compare, as (candidate, reference)."""
    steps = {run.label: comparison.steps(run.label, source) for run in runs}
    for label, of_label in steps.items():
        if len(of_label) > 1:
            yield Side(label, of_label[-1]), Side(label, of_label[0])
    for first, second in _to_compare(steps, reference):
        common = [step for step in steps[first] if step in steps[second]]
        if common:
            yield Side(second, common[-1]), Side(first, common[-1])
        elif reference and steps[first] and steps[second]:  # the reference may be a model that was not trained
            yield Side(second, steps[second][-1]), Side(first, steps[first][-1])
        elif steps[first] and steps[second]:
            comparison.notes.append(f"{source}: {first} and {second} have no step in common and are not compared")


def _add_differences(
    comparison: Comparison,
    source: str,
    candidate: Side,
    reference: Side,
    sides: dict[Side, list[_Evaluated]],
    fields: _Fields,
) -> None:
    pairs = list(product(sides[candidate], sides[reference]))
    same_seed = [(a, b) for a, b in pairs if a.run.seed == b.run.seed]
    pairs = same_seed or pairs
    common = [_common(*pair) for pair in pairs]
    matched = len(np.unique(np.concatenate([numbers for numbers, *_ in common])))
    everything = len(np.unique(np.concatenate([cell.numbers for pair in pairs for cell in pair])))
    if not matched:
        comparison.notes.append(f"{source}: {_names(candidate, reference)} share no prompt and are not compared")
        return
    only = _only_one_solves(pairs, common)
    comparison.matchings.append(Matching(candidate, reference, source, matched, everything - matched, *only))
    for metric, k in pairs[0][0].values:
        by_pair = [
            (numbers, a.values[metric, k][rows_a] - b.values[metric, k][rows_b])
            for (a, b), (numbers, rows_a, rows_b) in zip(pairs, common, strict=True)
        ]
        over_prompts = _mean_by_prompt(by_pair)
        if len(over_prompts):
            interval = mean_interval if fields.is_of_scores(metric) else paired_proportion_interval
            std = _std(_means([values for _, values in by_pair])) if same_seed else None
            found = float(over_prompts.mean()), interval(over_prompts), std, len(over_prompts)
            comparison.differences.append(Difference(candidate, reference, source, metric, k, *found))


def _common(candidate: _Evaluated, reference: _Evaluated) -> tuple[Ints, Ints, Ints]:
    """Return the numbers of the prompts that both have, and their indices in each."""
    both = np.intersect1d(candidate.numbers, reference.numbers, assume_unique=True, return_indices=True)
    return both[0], both[1], both[2]


def _names(candidate: Side, reference: Side) -> str:
    if candidate.label == reference.label:
        return f"steps {candidate.step} and {reference.step} of {candidate.label}"
    return f"{reference.label} and {candidate.label}"


def _means(by_seed: list[Floats]) -> list[float]:
    return [float(np.nanmean(values)) for values in by_seed if not np.isnan(values).all()]


def _std(means: list[float]) -> float | None:
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def _only_one_solves(
    pairs: list[tuple[_Evaluated, _Evaluated]], common: list[tuple[Ints, Ints, Ints]]
) -> tuple[float, float] | tuple[None, None]:
    shares = []
    for (candidate, reference), (numbers, *rows) in zip(pairs, common, strict=True):
        if candidate.counts is None or reference.counts is None:
            return None, None
        first, second = candidate.counts[rows[0]] > 0, reference.counts[rows[1]] > 0
        if len(numbers):
            shares.append(((first & ~second).mean(), (second & ~first).mean()))
    only_candidate, only_reference = np.mean(shares, axis=0).tolist()
    return only_candidate, only_reference


def _without_common_source(runs: list[Run], reference: str | None) -> Iterator[str]:
    sources: dict[str, dict[str, None]] = {}
    for run in runs:
        sources.setdefault(run.label, {}).update(dict.fromkeys(source for source, _ in run.cells))
    for first, second in _to_compare(sources, reference):
        if not sources[first].keys() & sources[second].keys():
            names = [", ".join(sources[label]) for label in (first, second)]
            yield f"{first} and {second} have no data source in common ({names[0]}; {names[1]}) and are not compared"


def _missing_samples(comparison: Comparison) -> Iterator[str]:
    """Yield notes on prompts that have fewer than k samples."""
    missing: dict[tuple[str | None, str, int], list[Estimate]] = {}
    for row in comparison.estimates:
        if row.too_few and row.metric == comparison.main_metric(row.data_source):
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
