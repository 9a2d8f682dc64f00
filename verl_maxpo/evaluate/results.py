"""Data classes for a comparison of runs: estimates, averages over seeds, differences, and notes on what is left out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from verl_maxpo.evaluate.dumps import VOTE
from verl_maxpo.evaluate.estimates import Interval

PASS, MAX, SELECTED, MAJORITY, GAP = "pass@k", "max@k", "selected@k", "maj@k", "gap@k"
ALL = "pass^k"

#: For each metric, the share τ of the k samples that must be correct; with τ = 1 it would be pass^k.
G_PASS = {"G-Pass@k_0.5": 0.5, "G-Pass@k_0.75": 0.75}

#: The metrics, each of which has its own tables.
METRICS = (PASS, MAX, SELECTED, MAJORITY, GAP, ALL, *G_PASS)

#: The name of the table that shows how verification ended.
STATUS = "status"

#: The JSON lists problems one by one up to this number, for all runs and steps together.
MAX_LISTED_PROBLEMS = 50_000


@dataclass(frozen=True)
class Side:
    """All runs of a label at one step."""

    label: str
    step: int | None

    def __str__(self) -> str:
        return self.label if self.step is None else f"{self.label}, step {self.step}"


@dataclass(frozen=True)
class Estimate:
    """One number for one run, or for all runs that differ only by their seed.

    Attributes:
        value: Mean over the prompts with at least k samples; for several runs, the mean of their means.
        interval: 95% over prompts, computed from each prompt's mean over seeds. It holds for these runs and says
            nothing about other seeds. None where no interval can be given.
        std: Sample standard deviation over seeds; None for one run.
        seeds: Number of runs.
        prompts: Number of prompts with at least k samples.
        too_few: Number of the other prompts, which are left out.
        run: Name of the run; None for all runs together.
    """

    label: str
    data_source: str
    step: int | None
    metric: str
    k: int
    value: float
    interval: Interval | None
    std: float | None
    seeds: int
    prompts: int
    too_few: int
    run: str | None


@dataclass(frozen=True)
class PromptCounts:
    """How many samples a prompt has, and how many are correct. A prompt has the same hash in all runs."""

    prompt: str
    n: int
    successes: int


@dataclass(frozen=True)
class Coverage:
    """The prompts of one run at one step.

    Attributes:
        smallest_n: The smallest number of samples of any prompt.
        largest_n: The largest.
        never_solved: Fraction of prompts without a correct sample; None if correctness is not known.
        statuses: Shares of the samples by how the verifier ended; None if some samples do not say so.
        problems: The prompts one by one; None if correctness is not known, and beyond :data:`MAX_LISTED_PROBLEMS`.
    """

    run: str
    label: str
    data_source: str
    step: int | None
    prompts: int
    smallest_n: int
    largest_n: int
    never_solved: float | None
    statuses: dict[str, float] | None
    problems: list[PromptCounts] | None


@dataclass(frozen=True)
class Difference:
    """``candidate`` minus ``reference`` on the same prompts.

    Runs with the same seed are paired. If the sides have no seed in common, each run of one is paired with each run of
    the other. The differences of a prompt are averaged over these pairs.

    Attributes:
        value: Mean over the prompts that both runs of a pair have, with at least k samples in each.
        interval: 95% over prompts, for these runs; None where no interval can be given.
        std: Sample standard deviation of the differences over seeds; None for fewer than 2 seeds in common.
        prompts: Number of these prompts.
    """

    candidate: Side
    reference: Side
    data_source: str
    metric: str
    k: int
    value: float
    interval: Interval | None
    std: float | None
    prompts: int


@dataclass(frozen=True)
class Matching:
    """How many prompts two sides share, and how many of these only one side solves.

    Attributes:
        matched: Number of prompts that both runs of a pair have.
        unmatched: Number of other prompts in any of these runs.
        only_candidate: Share of the matched prompts that ``candidate`` solves in at least one sample and ``reference``
            in none, averaged over the pairs of runs; None if correctness is not known.
        only_reference: The same with the sides exchanged.
    """

    candidate: Side
    reference: Side
    data_source: str
    matched: int
    unmatched: int
    only_candidate: float | None
    only_reference: float | None


@dataclass
class Comparison:
    """All results for some runs, in rows.

    Attributes:
        ks: The k that were asked for, or powers of two and the K that runs were trained with.
        n: How many samples each prompt should have; None if that is not known.
        select_by: How deployment chooses among k responses: a column, ``vote``, or None if it knows the best.
        trained: For each label, the K that it was trained with, as far as they are known.
        correctness: For each data source, the field that says whether a sample is correct: ``acc``, ``score`` or None.
        estimates: The estimates for each run.
        averages: The averages over seeds.
        coverage: The prompts of each run.
        differences: Between two labels at their last common step, and between the last and the first step of a label.
        matchings: One for each pair of sides in ``differences``.
        notes: What was left out, and why.
    """

    ks: list[int]
    n: int | None = None
    select_by: str | None = None
    trained: dict[str, list[int]] = field(default_factory=dict)
    correctness: dict[str, str | None] = field(default_factory=dict)
    estimates: list[Estimate] = field(default_factory=list)
    averages: list[Estimate] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    matchings: list[Matching] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def data_sources(self) -> list[str]:
        """Return the data sources that have estimates."""
        return list(dict.fromkeys(row.data_source for row in self.averages))

    def steps(self, label: str, data_source: str) -> list[int | None]:
        """Return the steps at which a label was evaluated, ascending."""
        found = {row.step for row in self.averages if (row.label, row.data_source) == (label, data_source)}
        return sorted(found, key=step_order)

    def of_seeds(self, rows: Iterable[Estimate]) -> list[Estimate]:
        """Return the estimates of single runs behind the rows that average several seeds."""
        about = {(row.label, row.data_source, row.step, row.metric, row.k) for row in rows if row.seeds > 1}
        return [row for row in self.estimates if (row.label, row.data_source, row.step, row.metric, row.k) in about]

    def main_metric(self, data_source: str) -> str:
        """Return ``pass@k`` where correctness is known, else ``max@k``."""
        return PASS if self.correctness[data_source] else MAX

    def headline_metric(self, data_source: str) -> str:
        """Return the metric of what is deployed: the main metric if deployment knows the best of k."""
        chosen = {None: self.main_metric(data_source), VOTE: MAJORITY}
        return chosen.get(self.select_by, SELECTED)

    def shown_metrics(self) -> set[str]:
        """Return the main and headline metrics of all data sources and, with ``select_by``, gap@k and max@k."""
        sources = self.data_sources
        found = {self.main_metric(source) for source in sources} | {self.headline_metric(source) for source in sources}
        return found | ({GAP, MAX} if self.select_by else set())

    def headline_ks(self, data_source: str) -> list[int]:
        """Return the k that sum up a data source: those that runs trained with, else the largest; and 1."""
        metric = self.headline_metric(data_source)
        shown = {row.k for row in self.averages if (row.data_source, row.metric) == (data_source, metric)}
        trained = shown.intersection(*[[k for ks in self.trained.values() for k in ks]])
        return sorted({*(trained or {max(shown)}), *shown.intersection({1})}, reverse=True)


def step_order(step: int | None) -> float:
    """Return a sort key for a step; an unknown step comes first."""
    return -math.inf if step is None else step
