"""Read results: pass@k of every held-out prompt; checkpoints chosen on one half of them, reported on the other."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from intervals import Estimate, Sample, estimate
from numpy.typing import NDArray

from verl_maxpo import pass_at_k

sys.path.insert(0, str(Path(__file__).parents[1] / "quickstart"))
from countdown import likelihoods, questions

RESULTS = Path(__file__).parent / "results"
Values = NDArray[np.float64]
Block = tuple[str, int]  # a start and a seed
Metric = int | str  # the k of pass@k, or what train.py --deployed evaluates, such as selected@4
BASELINES = {"closest": "mean", "judge": "max@4"}  # of a study, else GRPO
ENOUGH = 3  # runs with which a method is compared on the shipped starts


def hardware(about: dict[str, Any]) -> str:
    """Return the GPU, or without one the processor, that a result is from."""
    return str(about.get("gpu", about["cpu"]))


@dataclass(frozen=True, eq=False)
class Run:
    """One line of a results file."""

    method: str
    lr: float
    seed: int
    task: str
    evaluations: tuple[dict[str, Any], ...]
    about: dict[str, Any]

    @classmethod
    def of(cls, line: dict[str, Any]) -> Run:
        """Return the run of a line."""
        return cls(**{**line, "evaluations": tuple(line["evaluations"])})

    def at(self, step: int, temperature: float = 1.0) -> dict[str, Any]:
        """Return the evaluation of a step."""
        return next(e for e in self.evaluations if (e["step"], e["temperature"]) == (step, temperature))

    @property
    def start(self) -> str:
        """Its starting model: one that comes with the examples, or the hardware on which one was made for it."""
        return str(self.about.get("start", hardware(self.about)))

    @property
    def shipped(self) -> bool:
        """Whether its starting model comes with the examples."""
        return "start" in self.about

    @property
    def block(self) -> Block:
        """What it can share with other methods' runs: the start and the seed."""
        return self.start, self.seed

    @property
    def steps(self) -> list[int]:
        """The steps that were evaluated as training samples."""
        return [e["step"] for e in self.evaluations if e["temperature"] == 1]

    @cache  # noqa: B019  # runs live as long as the command
    def value(self, k: Metric, step: int, temperature: float = 1.0) -> Values:
        """Return pass@k (or the best reward of k, or what is deployed) of every held-out prompt, ``[prompts]``."""
        evaluation = self.at(step, temperature)
        if isinstance(k, str):
            return np.array(evaluation["deployed"][k])
        if "max_at_k" in evaluation:
            return np.array(evaluation["max_at_k"][str(k)])
        counts = expanded(evaluation["successes"], evaluation["samples"])
        values: Values = np.asarray(pass_at_k(evaluation["samples"], counts, k))
        if self.task != "hidden_digit":
            return values
        weights, first = hidden_digit_weights()
        return np.add.reduceat(weights * values, first)


def digits_of(samples: int) -> int:
    """Return how many digits to the base of 36 a count of right samples has."""
    return len(np.base_repr(samples, 36))


def compact(counts: Iterable[int], samples: int) -> str:
    """Return counts of right samples to the base of 36, as many digits each."""
    return "".join(np.base_repr(count, 36).zfill(digits_of(samples)) for count in counts)


def expanded(successes: str, samples: int) -> NDArray[np.int64]:
    """Return the counts that :func:`compact` was given."""
    digits = digits_of(samples)
    return np.array([int(successes[i : i + digits], 36) for i in range(0, len(successes), digits)])


class Checkpoint(NamedTuple):
    """The step with the best mean on the validation half, and the values of the prompts of the other half."""

    step: int
    validation: float
    reported: Values


@cache
def hidden_digit_weights() -> tuple[Values, NDArray[np.int64]]:
    """Return the likelihood of every held-out problem, and where the problems of each prompt begin."""
    held_out = questions("hidden_digit")[1]
    sizes = np.array([len(question) for question in held_out])
    return np.concatenate([likelihoods(question) for question in held_out]), np.cumsum(sizes) - sizes


def validation_half(values: Values) -> Values:
    """Return every other prompt, for choices."""
    return values[::2]


def reported_half(values: Values) -> Values:
    """Return the other prompts, for numbers."""
    return values[1::2]


def best_checkpoint(run: Run, k: Metric) -> Checkpoint:
    """Choose the step after the start by pass@k, or by what is deployed, on the validation half."""
    values = {step: run.value(k, step) for step in run.steps if step > 0}
    step = max(values, key=lambda s: float(validation_half(values[s]).mean()))
    return Checkpoint(step, float(validation_half(values[step]).mean()), reported_half(values[step]))


def read_runs(study: str) -> list[Run]:
    """Read the finished runs of a study."""
    file = RESULTS / f"{study}.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [Run.of(json.loads(line)) for line in lines]


def scan_of(runs: Iterable[Run], method: str) -> dict[float, Run]:
    """Return a method's run of the first seed at every learning rate, all from one start as far as there are such.

    The start is the one with the most rates, of equals the latest; a rate that it lacks is taken from another.
    """
    mine = [run for run in runs if run.method == method]
    first = [run for run in mine if run.seed == min(run.seed for run in mine)]
    rates: dict[str, dict[float, Run]] = {}
    for run in first:
        rates.setdefault(run.start, {}).setdefault(run.lr, run)
    latest_last = sorted(rates, key=lambda start: (len(rates[start]), max(map(first.index, rates[start].values()))))
    return {rate: run for start in latest_last for rate, run in rates[start].items()}


def best_of(scan: Mapping[float, Run], target: Metric) -> float:
    """Return the rate whose best checkpoint has the largest value on the validation half."""
    return max(scan, key=lambda rate: best_checkpoint(scan[rate], target).validation)


def rate_text(rate: float) -> str:
    """Return a learning rate as 1.6e-4."""
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


@cache
def pools(study: str, target: Metric = 8) -> tuple[Comparison, Comparison]:
    """Return the comparison on the shipped starting models, and that on the models that each machine made anew."""
    runs = read_runs(study)
    shipped, made = ([run for run in runs if run.shipped == shipped] for shipped in (True, False))
    return Comparison(study, shipped, target), Comparison(study, made, target)


def compare(study: str, target: Metric = 8, method: str = "", other: str = "") -> Comparison:
    """Return the comparison on the shipped starts, or that on the others while it has too few runs.

    Args:
        study: Its name.
        target: The k of the pass@k by which rates and steps are chosen, or what is deployed.
        method: It and the other need three common runs on the shipped starts, unless it has none on the others.
        other: The baseline of the study if not given, as for ``method``.
    """
    shipped, made = pools(study, target)
    pair = method or made.baseline, other or made.baseline
    return shipped if pair[0] not in made.methods or len(shipped.blocks(*pair)) >= ENOUGH else made


class Comparison:
    """The methods of a study, each at its best rate among those that were run, and all its seeds there.

    Args:
        study: Its name.
        runs: Its runs.
        target: The k of the pass@k by which rates and steps are chosen, or what is deployed.
    """

    def __init__(self, study: str, runs: list[Run], target: Metric = 8) -> None:
        self.runs, self.target = runs, target
        self.baseline = BASELINES.get(study, "grpo")
        methods = dict.fromkeys(run.method for run in runs)
        self.methods = {method: self.at_rate(method, self._best_rate(method)) for method in methods}

    def at_rate(self, method: str, rate: float) -> list[Run]:
        """Return a method's runs at a learning rate, by start and seed.

        A single run from one start, left over from a scan, is left out where another start has several.
        """
        mine = sorted((r for r in self.runs if (r.method, r.lr) == (method, rate)), key=lambda run: run.block)
        counts = Counter(run.start for run in mine)
        return [run for run in mine if counts[run.start] > 1 or max(counts.values()) == 1]

    def baseline_of(self, method: str) -> str:
        """Return what a method is compared with: the baseline that has as many responses to a prompt."""
        equal = f"{self.baseline}_n16"
        return equal if method.endswith("_n16") and equal in self.methods else self.baseline

    def sample(
        self, method: str, k: Metric, when: str, temperature: float = 1.0, blocks: Collection[Block] | None = None
    ) -> Sample:
        """Return pass@k of the reported prompts at each run's ``best`` checkpoint or its ``final`` one.

        Args:
            method: Its runs at its best rate.
            k: Of the result; the best checkpoint is that of pass@target, whatever k.
            when: ``best`` or ``final``.
            temperature: At which the method is sampled.
            blocks: Seeds and starts to keep; all if not given.
        """
        runs = [run for run in self.methods[method] if blocks is None or run.block in blocks]
        return sample_of(runs, k, self.target if when == "best" else None, temperature)

    def blocks(self, method: str, other: str) -> set[Block]:
        """Return the seeds and starts that two methods have, none if one of them has not run."""
        return set.intersection(*({run.block for run in self.methods.get(one, ())} for one in (method, other)))

    def difference(self, method: str, other: str, k: Metric, when: str, temperature: float = 1.0) -> Estimate:
        """Estimate the difference of two methods on the prompts, and on the seeds and starts that both have.

        The temperature is that at which the other method is sampled.
        """
        blocks = self.blocks(method, other)
        return estimate(self.sample(method, k, when, 1.0, blocks), self.sample(other, k, when, temperature, blocks))

    def _best_rate(self, method: str) -> float:
        """Return the best rate of the scan, or a better one by the mean over seeds if others have all its seeds too."""
        scan = scan_of(self.runs, method)
        blocks = {run.block for run in self.at_rate(method, best_of(scan, self.target))}
        complete = [rate for rate in scan if blocks <= {run.block for run in self.at_rate(method, rate)}]
        return max(complete, key=lambda rate: self._validation(method, rate, blocks))

    def _validation(self, method: str, rate: float, blocks: set[Block]) -> float:
        runs = [run for run in self.at_rate(method, rate) if run.block in blocks]
        return float(np.mean([best_checkpoint(run, self.target).validation for run in runs]))


def sample_of(runs: Sequence[Run], k: Metric, target: Metric | None, temperature: float = 1.0) -> Sample:
    """Return pass@k of the reported prompts at each run's best checkpoint for pass@target, or the last without one."""
    steps = [run.steps[-1] if target is None else best_checkpoint(run, target).step for run in runs]
    return sample_at(runs, k, steps, temperature)


def sample_at(runs: Sequence[Run], k: Metric, steps: Iterable[int], temperature: float = 1.0) -> Sample:
    """Return pass@k of the reported prompts at a step of each run."""
    values = [reported_half(run.value(k, s, temperature)) for run, s in zip(runs, steps, strict=True)]
    return Sample(np.stack(values), tuple(run.start for run in runs))


def ks_of(runs: Iterable[Run]) -> list[int]:
    """Return the k that tables and pictures have, as far as there are samples for them."""
    samples = min(run.at(run.steps[-1])["samples"] for run in runs)
    return [k for k in ((1, 4, 8, 16) if samples <= 32 else (1, 8, 16, 64, 256)) if k <= samples]
