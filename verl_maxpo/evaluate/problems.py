"""The problems one by one: who is helped and who is lost between two sides, with what was sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from verl_maxpo.evaluate.dumps import Run, Samples, Texts
from verl_maxpo.evaluate.results import Comparison, Side

#: About how many problems of all comparisons together a report shows with their texts, and how many of each at least.
SHOWN, SHOWN_OF_EACH = 400, 25

#: How many characters of a text are shown, and how many of these from its end, where the answer stands.
_LENGTH, _END = 1000, 650


@dataclass(frozen=True)
class Outcome:
    """What came of one problem on one side, over all its seeds.

    Attributes:
        n: Number of samples.
        total: Of the correct ones, or the sum of scores where correctness is not known.
    """

    n: int
    total: float

    @property
    def mean(self) -> float:
        """Share of correct samples, or mean score."""
        return self.total / self.n


@dataclass(frozen=True)
class Sample:
    """A response that is shown."""

    output: str
    pred: str
    score: float


@dataclass(frozen=True)
class Problem:
    """A problem with what was sampled."""

    prompt: str
    gold: str
    reference: Outcome
    candidate: Outcome
    reference_samples: list[Sample]
    candidate_samples: list[Sample]

    @property
    def change(self) -> float:
        """What the candidate has more."""
        return self.candidate.mean - self.reference.mean


@dataclass(frozen=True)
class Changes:
    """What became of each problem that two sides share.

    Attributes:
        candidate: The later or other side.
        reference: What it is compared with.
        data_source: Name of the data source.
        known: Whether outcomes count correct samples; otherwise they are scores.
        outcomes: Of each problem, (reference, candidate).
        shown: Those that changed most, the same number of both directions if there are as many.
    """

    candidate: Side
    reference: Side
    data_source: str
    known: bool
    outcomes: list[tuple[Outcome, Outcome]]
    shown: list[Problem]


def changes(comparison: Comparison, runs: list[Run]) -> Iterator[Changes]:
    """Look at each problem of each comparison.

    Args:
        comparison: Of these runs.
        runs: As they were read; their files must still be there.

    Yields:
        One for each of ``comparison.matchings``.

    Raises:
        OSError: A file cannot be read any more.
    """
    most = max(SHOWN_OF_EACH, SHOWN // max(1, len(comparison.matchings)))
    for matching in comparison.matchings:
        source, field = matching.data_source, comparison.correctness[matching.data_source]
        sides = matching.reference, matching.candidate
        of_sides = [_runs_of(side, source, runs) for side in sides]
        common = {run.seed for run in of_sides[0]} & {run.seed for run in of_sides[1]}
        of_sides = [[run for run in of if run.seed in common or not common] for of in of_sides]
        outcomes = [
            _outcomes([run.cells[source, side.step] for run in of], field, comparison.n or 0)
            for side, of in zip(sides, of_sides, strict=True)
        ]
        both = {key: (outcomes[0][key], outcomes[1][key]) for key in outcomes[0] if key in outcomes[1]}
        cells = [(of, (source, side.step)) for of, side in zip(of_sides, sides, strict=True)]
        shown = [
            _problem(*both[key], *(_samples(key, of, cell, field) for of, cell in cells)) for key in _most(both, most)
        ]
        yield Changes(matching.candidate, matching.reference, source, field is not None, list(both.values()), shown)


def _runs_of(side: Side, source: str, runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.label == side.label and (source, side.step) in run.cells]


def _values(samples: Samples, field: str | None) -> NDArray[np.float64]:
    return np.array(getattr(samples, field or "score"))


def _outcomes(cells: list[Samples], field: str | None, n: int) -> dict[bytes, Outcome]:
    """Add up what came of each problem; samples that are missing from n are wrong where correctness is known."""
    sums: dict[bytes, Outcome] = {}
    for samples in cells:
        labels = samples.labels
        sizes, totals = np.bincount(labels), np.bincount(labels, weights=_values(samples, field))
        sizes = np.maximum(sizes, n) if field else sizes
        for key, size, total in zip(samples.prompts, sizes.tolist(), totals.tolist(), strict=True):
            before = sums.get(key, Outcome(0, 0.0))
            sums[key] = Outcome(before.n + size, before.total + total)
    return sums


def _most(outcomes: dict[bytes, tuple[Outcome, Outcome]], most: int) -> list[bytes]:
    """Return the problems that gained and lost most, as many of both, in the order of what they gained."""
    order = sorted(outcomes, key=lambda key: outcomes[key][0].mean - outcomes[key][1].mean)
    return order if len(order) <= most else order[: most - most // 2] + order[-(most // 2) :]


def _samples(
    key: bytes, runs: list[Run], cell: tuple[str, int | None], field: str | None
) -> tuple[Texts, list[Sample]]:
    """Return the first texts of a problem, and the best and the worst sample of the first run that has it."""
    run = next(run for run in runs if key in run.cells[cell].prompts)
    samples = run.cells[cell]
    rows = np.flatnonzero(samples.labels == samples.prompts[key])
    values = _values(samples, field)[rows]
    chosen = list(dict.fromkeys([rows[values.argmax()], rows[values.argmin()], *rows[:2]]))[:2]
    places = [samples.last_place.get(int(row), samples.place[row]) for row in chosen]
    first, *texts = run.texts([samples.place[rows[0]], *places])
    scores = _values(samples, field)[chosen].tolist()
    return first, [Sample(_cut(text.output), _cut(text.pred), score) for text, score in zip(texts, scores, strict=True)]


def _problem(
    reference: Outcome,
    candidate: Outcome,
    of_reference: tuple[Texts, list[Sample]],
    of_candidate: tuple[Texts, list[Sample]],
) -> Problem:
    texts, samples = of_candidate
    return Problem(_cut(texts.input), _cut(texts.gts), reference, candidate, of_reference[1], samples)


def _cut(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    left_out = len(text) - _LENGTH
    if left_out <= 0:
        return text.strip()
    return f"{text[: _LENGTH - _END]} […{left_out:,} characters…] {text[-_END:]}".strip()
