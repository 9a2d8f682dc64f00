"""The studies: what is trained, at which learning rates and with which seeds, in the order of what tells most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from curves import Run, best_checkpoint, scan_of

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, eq=False)
class Method:
    """What is compared: settings of train.py under a name."""

    name: str
    settings: Mapping[str, object]
    like: str = ""  # the method at whose best learning rate it runs; it is scanned over all of them if empty


@dataclass(frozen=True)
class Job:
    """One run."""

    method: Method
    lr: float
    seed: int
    start: int = 0  # seed of the starting model

    @property
    def name(self) -> str:
        """Its name among the runs of a study."""
        return f"{self.method.name}-lr{self.lr:g}-seed{self.seed}" + (f"-start{self.start}" if self.start else "")


@dataclass(frozen=True)
class Study:
    """A task, how long each run takes, and the methods in groups: one group has all its runs before the next starts.

    The first group is the main comparison: only it runs from every starting model and at every rate that is best for
    one of ``tuned_for``; the others run from the first starting model, at the rate that is best for the first k.
    """

    task: str
    steps: int
    groups: Sequence[Sequence[Method]]
    rates: Sequence[float] = (4e-5, 8e-5, 2e-5, 1.6e-4)
    seeds: Sequence[int] = SEEDS
    common: Mapping[str, object] = field(default_factory=dict)
    size: str = "335k"  # of the model
    starts: Sequence[int] = (0,)  # seeds of the starting models
    tuned_for: Sequence[int] = (8,)  # the k of pass@k by which the rate is chosen

    def methods(self) -> list[Method]:
        """Return the methods in order."""
        return [method for group in self.groups for method in group]

    def jobs(self, runs: Sequence[Run]) -> Iterator[Job]:
        """Yield every job that can be named yet, finished ones too: the scan over rates, then seeds at the best.

        Args:
            runs: Those from the first starting model: they decide on the rates.
        """
        first = self.seeds[0]
        for number, group in enumerate(self.groups):
            starts, ks = (self.starts, self.tuned_for) if number == 0 else (self.starts[:1], self.tuned_for[:1])
            like = [(method, self.best_rate(method, runs, ks[0])) for method in group if method.like]
            yield from (Job(method, rate, first) for method, rate in like if rate is not None)
            for lr in self.rates:
                yield from (Job(method, lr, first) for method in group if not method.like)
            best = [(method, self.best_rate(method, runs, k)) for method, k in product(group, ks)]
            found = [(method, rate) for method, rate in dict.fromkeys(best) if rate is not None]
            for method, rate in found:
                yield from (Job(method, lr, first) for lr in self._beyond_the_edge(method, rate, runs))
            for start, seed in product(starts, self.seeds):
                yield from (Job(method, rate, seed, start) for method, rate in found)

    def count(self) -> int:
        """Return how many runs there are if the rates are the same for every k, but for those beyond an edge."""
        scans = sum(len(self.rates) - 1 for method in self.methods() if not method.like)
        return scans + len(self.seeds) * (len(self.methods()) + len(self.groups[0]) * (len(self.starts) - 1))

    def best_rate(self, method: Method, runs: Sequence[Run], k: int = 8) -> float | None:
        """Return the rate whose best checkpoint has the largest pass@k on the validation half; None before the scan."""
        if method.like:
            return self.best_rate(next(other for other in self.methods() if other.name == method.like), runs, k)
        scanned = scan_of(runs, method.name)
        if not set(self.rates) <= set(scanned):
            return None
        return max(scanned, key=lambda lr: best_checkpoint(scanned[lr], k).validation)

    def _beyond_the_edge(self, method: Method, best: float, runs: Sequence[Run]) -> list[float]:
        if method.like:
            return []
        scanned = scan_of(runs, method.name)
        return [2 * best] * (best == max(scanned)) + [best / 2] * (best == min(scanned))


GRPO = Method("grpo", {"estimator": "grpo"})
MAXPO = Method("maxpo", {"k": ["4"]})
ALL = Method("all", {"k": ["all"]})
OTHERS = (
    Method("loo_minus_one", {"estimator": "loo_minus_one", "k": ["4"]}),
    Method("loo", {"estimator": "loo", "k": ["4"]}),
    Method("mixture", {"k": ["1", "4"]}),
    Method("schedule", {"k": ["4"], "then-k": ["1"], "switch-step": 0.6}),
    Method("rloo", {"estimator": "rloo"}),
)
GRPO_VARIANTS = (
    Method("grpo_entropy_.01", {"estimator": "grpo", "entropy": 0.01}, like="grpo"),
    Method("grpo_entropy_.03", {"estimator": "grpo", "entropy": 0.03}, like="grpo"),
    Method("grpo_kl_.01", {"estimator": "grpo", "kl": 0.01}, like="grpo"),
    Method("grpo_temperature_1.2", {"estimator": "grpo", "temperature": 1.2}, like="grpo"),
)
N16: dict[str, object] = {"n": 16, "prompts": 8}  # as many samples a step
LARGE_GROUPS = (
    Method("grpo_n16", {"estimator": "grpo", **N16}),
    Method("maxpo_k8_n16", {"k": ["8"], **N16}),
    Method("all_n16", {"k": ["all"], **N16}),
)

STUDIES = {
    "hidden_digit": Study(
        task="hidden_digit",
        steps=600,
        groups=[(GRPO, MAXPO, ALL), (*GRPO_VARIANTS, *OTHERS, *LARGE_GROUPS)],
        common={"final-temperatures": [1.25, 1.5, 2.0]},
        starts=(0, 1),
        tuned_for=(8, 1),
    ),
    "hidden_digit_30M": Study(
        task="hidden_digit",
        size="30M",
        steps=600,
        groups=[(GRPO, MAXPO, ALL)],
        rates=(5e-6, 1e-5, 2.5e-6, 2e-5),
        tuned_for=(8, 1),
    ),
    "countdown": Study(task="countdown", steps=300, groups=[(GRPO, MAXPO, ALL), OTHERS], tuned_for=(8, 1)),
    "closest": Study(
        task="closest",
        steps=300,
        seeds=(0, 1, 2),
        groups=[(Method("mean", {"estimator": "rloo"}), Method("max@4", {"k": ["4"]}), ALL, GRPO)],
    ),
}
