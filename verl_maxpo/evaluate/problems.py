"""Compare two sides problem by problem: which problems gain, which lose, and what was sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from verl_maxpo.evaluate.dumps import Cell, Run, Samples, Texts
from verl_maxpo.evaluate.estimates import Floats
from verl_maxpo.evaluate.results import Comparison, Matching

#: About how many problems a report shows with their texts: for all comparisons together, and at least for each one.
SHOWN, SHOWN_OF_EACH = 400, 25

#: How many characters of a text are shown, and how many of these come from its end, where the answer is.
_LENGTH, _END = 1000, 650


@dataclass(frozen=True)
class Outcome:
    """How one problem went on one side, over all its seeds.

    Attributes:
        n: Number of samples.
        total: Number of correct samples, or the sum of scores if correctness is not known.
    """

    n: int
    total: float

    @property
    def mean(self) -> float:
        """Share of correct samples, or mean score."""
        return self.total / self.n


@dataclass(frozen=True)
class ShownSample:
    """A response to show. Its ``note`` is the answer, and the status if it is not ok."""

    output: str
    note: str
    score: float


@dataclass(frozen=True)
class ChangedProblem:
    """A problem with samples of both sides."""

    prompt: str
    gold: str
    reference: Outcome
    candidate: Outcome
    reference_samples: list[ShownSample]
    candidate_samples: list[ShownSample]

    @property
    def change(self) -> float:
        """How much the candidate gains over the reference."""
        return self.candidate.mean - self.reference.mean


@dataclass(frozen=True)
class Changes:
    """How each problem that two sides share changed.

    Attributes:
        matching: The two sides.
        binary: Whether outcomes count correct samples; otherwise they are scores.
        outcomes: For each problem, (reference, candidate).
        shown: The problems that changed most, as many in one direction as in the other if there are enough.
    """

    matching: Matching
    binary: bool
    outcomes: list[tuple[Outcome, Outcome]]
    shown: list[ChangedProblem]


def changes(comparison: Comparison, runs: list[Run]) -> Iterator[Changes]:
    """Yield how the problems changed, for each of ``comparison.matchings``; OSError if a dump is gone."""
    most = max(SHOWN_OF_EACH, SHOWN // max(1, len(comparison.matchings)))
    for matching in comparison.matchings:
        field = comparison.correctness[matching.data_source]
        reference, candidate = (_SideOfRuns(cell, chosen, field) for cell, chosen in _runs_of_sides(matching, runs))
        before, after = reference.outcomes(comparison.n or 0), candidate.outcomes(comparison.n or 0)
        both = {key: (before[key], after[key]) for key in before if key in after}
        shown = [_changed(key, both[key], reference, candidate) for key in _most_changed(both, most)]
        yield Changes(matching, field is not None, list(both.values()), shown)


def _runs_of_sides(matching: Matching, runs: list[Run]) -> list[tuple[Cell, list[Run]]]:
    """Return the runs of reference and candidate; if they have seeds in common, only the runs with those seeds."""
    cells = [(matching.data_source, side.step) for side in (matching.reference, matching.candidate)]
    labels = [matching.reference.label, matching.candidate.label]
    both = [
        [run for run in runs if run.label == label and cell in run.cells]
        for label, cell in zip(labels, cells, strict=True)
    ]
    common = set.intersection(*({run.seed for run in chosen} for chosen in both))
    return [
        (cell, [run for run in chosen if run.seed in common or not common])
        for cell, chosen in zip(cells, both, strict=True)
    ]


@dataclass(frozen=True)
class _SideOfRuns:
    """One side of a comparison: a cell of some runs, and the field that says whether a sample is correct."""

    cell: Cell
    runs: list[Run]
    field: str | None

    def outcomes(self, n: int) -> dict[bytes, Outcome]:
        """Add up the outcomes of each problem; if correctness is known, samples missing from n count as wrong."""
        sums: dict[bytes, Outcome] = {}
        for run in self.runs:
            samples = run.cells[self.cell]
            sizes = np.maximum(np.bincount(samples.labels), n if self.field else 0)
            totals = np.bincount(samples.labels, weights=self._values(samples))
            for key, size, total in zip(samples.prompts, sizes.tolist(), totals.tolist(), strict=True):
                before = sums.get(key, Outcome(0, 0.0))
                sums[key] = Outcome(before.n + size, before.total + total)
        return sums

    def shown(self, key: bytes) -> tuple[Texts, list[ShownSample]]:
        """Return a problem's texts, and its best and worst sample, from the first run that has the problem."""
        run = next(run for run in self.runs if key in run.cells[self.cell].prompts)
        samples = run.cells[self.cell]
        rows = np.flatnonzero(samples.labels == samples.prompts[key])
        values = self._values(samples)[rows]
        chosen = list(dict.fromkeys([values.argmax(), values.argmin(), *range(min(2, len(rows)))]))[:2]
        places = [samples.last_place.get(int(rows[i]), int(samples.place[rows[i]])) for i in chosen]
        texts = [run.texts(place) for place in places]
        return run.texts(int(samples.place[rows[0]])), [
            ShownSample(_cut(text.output), _note(text), float(values[i])) for text, i in zip(texts, chosen, strict=True)
        ]

    def _values(self, samples: Samples) -> Floats:
        values: Floats = getattr(samples, self.field or "score")
        return values


def _most_changed(outcomes: dict[bytes, tuple[Outcome, Outcome]], most: int) -> list[bytes]:
    """Return the problems that gained most and as many that lost most, sorted by gain, the largest gain first."""
    order = sorted(outcomes, key=lambda key: outcomes[key][0].mean - outcomes[key][1].mean)
    return order if len(order) <= most else order[: most - most // 2] + order[-(most // 2) :]


def _changed(
    key: bytes, outcomes: tuple[Outcome, Outcome], reference: _SideOfRuns, candidate: _SideOfRuns
) -> ChangedProblem:
    (_, before), (texts, after) = reference.shown(key), candidate.shown(key)
    return ChangedProblem(_cut(texts.input), _cut(texts.gts), *outcomes, before, after)


def _note(texts: Texts) -> str:
    answer = _cut(texts.pred if texts.answer is None else texts.answer)
    status = "" if texts.status in (None, "ok") else _cut(texts.status)
    return ", ".join(filter(None, [f"answer {answer[:80]}" if answer else "", status]))


def _cut(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    left_out = len(text) - _LENGTH
    if left_out <= 0:
        return text.strip()
    return f"{text[: _LENGTH - _END]} […{left_out:,} characters…] {text[-_END:]}".strip()
