"""95% intervals for means over runs and prompts, and for differences of two methods on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Values = NDArray[np.float64]


class Sample(NamedTuple):
    """A method's runs: the value of each on every prompt, ``[runs, prompts]``, and the start of each run."""

    values: Values
    starts: tuple[str, ...]

    @property
    def mean(self) -> float:
        """The mean over runs and prompts."""
        return float(self.values.mean())

    def of_start(self, start: str) -> Values:
        """Return the runs from a starting model."""
        return self.values[[one == start for one in self.starts]]


class Estimate(NamedTuple):
    """A mean with a 95% interval, and the numbers of runs and starts that it rests on."""

    mean: float
    low: float
    high: float
    runs: int = 0
    starts: int = 1

    def __str__(self) -> str:
        signs = "+" if self.low < 0 or self.mean < 0 else ""
        mean, low, high = (f"{value:{signs}.3f}".replace("0.", ".") for value in self[:3])
        return f"{mean} [{low}, {high}]"


class Part(NamedTuple):
    """One source of variance of a mean, and the degrees of freedom of its estimate."""

    variance: float
    freedom: float


def estimate(sample: Sample, minus: Sample | None = None) -> Estimate:
    """Estimate a mean, or the difference of two means on the same prompts, with Student's t.

    Runs and prompts are crossed and both drawn at random, so the variance of the mean has a part for each:

        V = Σ_methods s²_seeds / S + s²_prompts / P + Σ_starts w_t² s²_starts

    s²_seeds is the variance of the runs' means around the mean of their start, s²_prompts that of the prompts' means
    (of the differences, as both methods have the same prompts), s²_starts that of the starts' means, and w_t the
    share of the runs that are from start t. A start's mean holds noise of seeds and prompts too, so V is a little too
    large rather than too small. The t quantile is at Satterthwaite's degrees of freedom, V² / Σ V_part² / df_part.

    With one run from each start there is no part for the seeds, and with one start none for the starts: the interval
    then covers only what is left.

    Args:
        sample: The runs.
        minus: Runs on the same prompts, from the same starts, whose mean is subtracted.
    """
    both = [sample] if minus is None else [sample, minus]
    names = list(dict.fromkeys(sample.starts))
    by_start = np.array([_difference([one.of_start(name).mean(axis=0) for one in both]) for name in names])
    shares = np.array([sample.starts.count(name) for name in names]) / len(sample.starts)
    by_prompt = shares @ by_start
    mean = float(by_prompt.mean())
    parts = [Part(by_prompt.var(ddof=1) / by_prompt.size, by_prompt.size - 1), *map(_of_seeds, both)]
    if len(names) > 1:
        parts.append(Part(by_start.mean(axis=1).var(ddof=1) * float((shares**2).sum()), len(names) - 1))
    half = _half_width([part for part in parts if part.freedom > 0 and part.variance > 0])
    return Estimate(mean, mean - half, mean + half, min(len(one.starts) for one in both), len(names))


def _difference(means: Sequence[Values]) -> Values:
    return means[0] - sum(means[1:])


def _of_seeds(sample: Sample) -> Part:
    means = [sample.of_start(start).mean(axis=1) for start in set(sample.starts)]
    freedom = len(sample.starts) - len(means)
    within = sum(float(((one - one.mean()) ** 2).sum()) for one in means)
    return Part(within / max(freedom, 1) / len(sample.starts), freedom)


def _half_width(parts: Sequence[Part]) -> float:
    variance = sum(part.variance for part in parts)
    if not variance:
        return 0.0
    freedom = variance**2 / sum(part.variance**2 / part.freedom for part in parts)
    return float(student_t.ppf(0.975, freedom) * variance**0.5)
