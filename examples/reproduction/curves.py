"""Read results: pass@k of every held-out prompt; checkpoints chosen on one half of them, reported on the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verl_maxpo import pass_at_k

sys.path.insert(0, str(Path(__file__).parents[1] / "quickstart"))
from countdown import likelihoods, questions

RESULTS = Path(__file__).parent / "results"
Values = NDArray[np.float64]


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
        """The hardware on which its starting model was made: every machine makes that model anew."""
        return hardware(self.about)

    @property
    def block(self) -> tuple[str, int]:
        """What it can share with other methods' runs: the start and the seed."""
        return self.start, self.seed

    @property
    def steps(self) -> list[int]:
        """The steps that were evaluated as training samples."""
        return [e["step"] for e in self.evaluations if e["temperature"] == 1]

    @cache  # noqa: B019  # runs live as long as the command
    def pass_at_k(self, k: int, step: int, temperature: float = 1.0) -> Values:
        """Return pass@k (or the best reward of k, for graded rewards) of every held-out prompt, shape ``[prompts]``."""
        evaluation = self.at(step, temperature)
        if "max_at_k" in evaluation:
            return np.array(evaluation["max_at_k"][str(k)])
        counts = np.array([int(count, 36) for count in evaluation["successes"]])
        weights, first = weights_of(self.task)
        return np.add.reduceat(weights * pass_at_k(evaluation["samples"], counts, k), first)


class Checkpoint(NamedTuple):
    """The step with the best mean on the validation half, and the values of the prompts of the other half."""

    step: int
    validation: float
    reported: Values


@cache
def weights_of(task: str) -> tuple[Values, NDArray[np.int64]]:
    """Return the likelihood of every held-out problem, and where the problems of each prompt begin."""
    held_out = questions("hidden_digit" if task == "hidden_digit" else "countdown")[1]
    sizes = np.array([len(question) for question in held_out])
    return np.concatenate([likelihoods(question) for question in held_out]), np.cumsum(sizes) - sizes


def validation_half(values: Values) -> Values:
    """Return every other prompt, for choices."""
    return values[::2]


def reported_half(values: Values) -> Values:
    """Return the other prompts, for numbers."""
    return values[1::2]


def best_checkpoint(run: Run, k: int) -> Checkpoint:
    """Choose the step by pass@k on the validation half."""
    values = {step: run.pass_at_k(k, step) for step in run.steps}
    step = max(values, key=lambda s: float(validation_half(values[s]).mean()))
    return Checkpoint(step, float(validation_half(values[step]).mean()), reported_half(values[step]))


def read_runs(study: str) -> list[Run]:
    """Read the finished runs of a study."""
    file = RESULTS / f"{study}.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [Run.of(json.loads(line)) for line in lines]


def scan_of(runs: Iterable[Run], method: str) -> dict[float, Run]:
    """Return a method's run of the first seed at every learning rate: the earlier one, where two machines have one."""
    mine = [run for run in runs if run.method == method]
    first = min((run.seed for run in mine), default=0)
    return {run.lr: run for run in reversed(mine) if run.seed == first}


def rate_text(rate: float) -> str:
    """Return a learning rate as 1.6e-4."""
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


class Estimate(NamedTuple):
    """A mean over seeds and prompts with a 95% interval."""

    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        signs = "+" if self.low < 0 or self.mean < 0 else ""
        mean, low, high = (f"{value:{signs}.3f}".replace("0.", ".") for value in self[:3])
        return f"{mean} [{low}, {high}]"


def estimate(values: Values, minus: Values | None = None, draws: int = 4000) -> Estimate:
    """Estimate a mean over seeds and prompts, or the difference of two means on the same prompts.

    The interval is of a bootstrap that draws prompts and, independently for both, seeds. With one seed it covers the
    prompts only.

    Args:
        values: Shape ``[seeds, prompts]``.
        minus: What is subtracted, shape ``[seeds, prompts]``.
        draws: Of the bootstrap.
    """
    rng = np.random.default_rng(0)
    prompts = values.shape[1]
    prompt_weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), draws) / prompts

    def means(of: Values) -> Values:
        seeds = len(of)
        seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
        drawn: Values = ((seed_weights @ of) * prompt_weights).sum(axis=1)
        return drawn

    drawn = means(values) - (0 if minus is None else means(minus))
    mean = values.mean() - (0 if minus is None else minus.mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    seeds = len(values) if minus is None else min(len(values), len(minus))
    return Estimate(float(mean), float(low), float(high), seeds)


@cache
def compare(study: str) -> Comparison:
    """Return the methods of a study by its results as they were when first read."""
    return Comparison(study, read_runs(study))


class Comparison:
    """The methods of a study, each at its best rate among those that were run, and all its seeds there.

    Args:
        study: Its name.
        runs: Its runs.
    """

    def __init__(self, study: str, runs: list[Run]) -> None:
        self.runs = runs
        self.baseline = "mean" if study == "closest" else "grpo"
        self.methods = {method: self._at_best_rate(method) for method in dict.fromkeys(r.method for r in self.runs)}

    def values(
        self,
        method: str,
        k: int,
        when: str,
        temperature: float = 1.0,
        blocks: Collection[tuple[str, int]] | None = None,
    ) -> Values:
        """Return pass@k of the reported prompts at each seed's ``best`` checkpoint or its ``final`` one.

        Shape ``[seeds, prompts]``. The best checkpoint is that of pass@8 on the validation half, whatever k.
        """
        runs = [run for run in self.methods[method] if blocks is None or run.block in blocks]
        steps = [best_checkpoint(run, 8).step if when == "best" else run.steps[-1] for run in runs]
        return np.stack([reported_half(r.pass_at_k(k, s, temperature)) for r, s in zip(runs, steps, strict=True)])

    def blocks(self, method: str, other: str) -> set[tuple[str, int]]:
        """Return the seeds and starts that two methods have, none if one of them has not run."""
        return set.intersection(*({run.block for run in self.methods.get(one, ())} for one in (method, other)))

    def difference(self, method: str, other: str, k: int, when: str, temperature: float = 1.0) -> Estimate:
        """Estimate the difference of two methods on the prompts, and on the seeds and starts that both have.

        The temperature is that at which the other method is sampled.
        """
        blocks = self.blocks(method, other)
        return estimate(self.values(method, k, when, 1.0, blocks), self.values(other, k, when, temperature, blocks))

    def rates_tried(self, method: str) -> int:
        """Return at how many learning rates a method was run."""
        return len({run.lr for run in self.runs if run.method == method})

    def _at_best_rate(self, method: str) -> list[Run]:
        rate = max(scan_of(self.runs, method).values(), key=lambda run: best_checkpoint(run, 8).validation).lr
        mine = (run for run in self.runs if (run.method, run.lr) == (method, rate))
        return sorted(mine, key=lambda run: run.block)
