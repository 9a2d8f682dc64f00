"""The options under ``algorithm.maxpo``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from verl_maxpo.best_of_k.groups import Rule
from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.trainer.reward_info import rule_of


@dataclass(frozen=True)
class MaxPOConfig:
    """Hold the options under ``algorithm.maxpo``.

    Attributes:
        k: The K of max@K. Groups need k + 1 responses: keep it below `rollout.n`, better at n/2. `k=1` is RLOO. A list
            such as `[1,8]` optimises the weighted sum. `all` optimises every k below n with weight 1/k, for 0/1
            rewards MaxRL. `{0: 8, 150: 1}` is a schedule: that k (a list or `all` too) from that step of the trainer
            on (quote it in a shell).
        select_by: How one of K responses is chosen when you deploy: `reward`, the largest (max@K); the name of a value
            in `reward_extra_info`, such as a judge's score, the largest (ties at random); or `vote`, the most frequent
            `answer`.
        weights: With several k, the weight of each, such as `[0.25,0.75]`; they sum to 1. Equal if not given.
        baseline: What the advantage is measured against: MaxPO's `l2o`, or `loo_minus_one`, `loo`, `none`,
            `group_mean`.
        normalize: `std` divides each group by the standard deviation of the best reward of its k-subsets. That biases
            the gradient; with `baseline=group_mean scale_by_k=false` it is Pass@k Training.
        scale_by_k: Multiply the advantages by k (of several, each by its own), so that the gradient is that of max@k
            itself. Adam hides a constant factor; its balance with KL and entropy terms and clipping do not.
    """

    k: Any
    select_by: str = "reward"
    weights: Sequence[float] | None = None
    baseline: str = "l2o"
    normalize: str | None = None
    scale_by_k: bool = True
    objectives: dict[int, Objective] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.select_by, str) or not self.select_by:
            raise ValueError(
                f"algorithm.maxpo.select_by must be reward, vote or a name in reward_extra_info, got {self.select_by!r}"
            )
        k = _parsed(self.k)
        if isinstance(k, Mapping) and self.weights is not None and len(k) > 1:
            raise ValueError(
                f"algorithm.maxpo.weights must be null with a schedule, whose lists weigh each k equally, got "
                f"{self.weights!r}"
            )
        entries = _checked_schedule(k) if isinstance(k, Mapping) else {0: k}
        objectives = {}
        for step, one in entries.items():
            try:
                objectives[step] = Objective.of(one, self.weights, self.baseline, self.normalize, self.scale_by_k)
                objectives[step].check_rule(self.rule)
            except (TypeError, ValueError) as error:
                raise ValueError(f"algorithm.maxpo.{error}{from_step(step, entries)}") from None
        object.__setattr__(self, "objectives", objectives)

    @property
    def rule(self) -> Rule:
        """How one of k responses is chosen."""
        return rule_of(self.select_by)

    def objective_at(self, step: int | None) -> Objective:
        """Return what is optimised in a step; ValueError where ``k`` is a schedule and the step is not known."""
        if len(self.objectives) == 1:
            return next(iter(self.objectives.values()))
        if step is None:
            raise ValueError(
                f"algorithm.maxpo.k={self.k} is a schedule, and only verl's V1 trainer tells the step: use "
                "trainer.use_v1=true or one k"
            )
        return self.objectives[max(start for start in self.objectives if start <= max(step, 1))]

    @classmethod
    def from_algorithm(cls, algorithm: Mapping[str, Any] | None) -> MaxPOConfig:
        """Read the node ``maxpo`` of verl's ``config.algorithm``, an OmegaConf node or any mapping.

        Raises:
            ValueError: The node is missing, lacks ``k``, has an unknown key or a value out of range.
        """
        node = algorithm.get("maxpo") if algorithm is not None else None
        if node is None:
            raise ValueError(
                "algorithm.adv_estimator=maxpo needs the K of max@K: set algorithm.maxpo.k, "
                "as +algorithm.maxpo.k=8 on verl's own configs"
            )
        options: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
        if not isinstance(options, Mapping):
            raise ValueError(f"algorithm.maxpo must be a mapping such as {{k: 8}}, got {options!r}")
        known = {option.name: option for option in fields(cls) if option.init}
        unknown = sorted(str(key) for key in options if key not in known)
        if unknown:
            raise ValueError(f"algorithm.maxpo has no option {', '.join(unknown)}; its options are {', '.join(known)}")
        for name, option in known.items():
            if option.default is MISSING and options.get(name, "???") in (None, "???"):
                raise ValueError(f"algorithm.maxpo.{name} is required and not set, got {options.get(name)!r}")
        return cls(**options)


def _parsed(k: Any) -> Any:
    """Read a k from the command line or a configuration: ``'[1,8]'`` in quotes is the list."""
    if isinstance(k, (DictConfig, ListConfig)):
        k = OmegaConf.to_container(k, resolve=True)
    if isinstance(k, str):
        try:
            k = OmegaConf.to_container(OmegaConf.create(f"k: {k}"))["k"]  # type: ignore[call-overload, index]
        except Exception:  # whatever YAML cannot read
            raise ValueError(
                f"algorithm.maxpo.k must be such as 8, [1,8], all or {{0: 8, 150: 1}}, got {k!r}"
            ) from None
    return k


def _checked_schedule(schedule: Mapping[Any, Any]) -> dict[int, Any]:
    steps = list(schedule)
    if not all(type(step) is int and step >= 0 for step in steps) or min(steps, default=2) > 1:
        raise ValueError(
            f"algorithm.maxpo.k must map steps to k, from step 0 on, such as {{0: 8, 150: 1}}, got {dict(schedule)!r}"
        )
    return {step: _parsed(schedule[step]) for step in sorted(steps)}


def from_step(step: int, schedule: Mapping[int, Any]) -> str:
    """Say from which step on, for errors about a schedule."""
    return f" from step {step}" if len(schedule) > 1 else ""
