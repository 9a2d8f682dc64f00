"""The check of a whole verl configuration, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from verl_maxpo.best_of_k.objectives import Objective
from verl_maxpo.trainer import ESTIMATOR_NAME, hooks
from verl_maxpo.trainer.config import MaxPOConfig, from_step
from verl_maxpo.trainer.reward_info import Info, chosen_by, drops_unscored


def check_algorithm(config: Any) -> None:
    """Check that a run with verl's ``config`` can use its options for max@K, before any model is loaded.

    Raises:
        ValueError: It cannot; the message names the key, what came and the fix.
    """
    is_ours = config.algorithm.adv_estimator == ESTIMATOR_NAME
    if drops_unscored(config):
        _check_unscored(config, is_ours)
    if not is_ours:
        return
    options = MaxPOConfig.from_algorithm(config.algorithm)
    if OmegaConf.select(config, "critic.enable"):
        raise ValueError(
            "critic.enable=true trains a critic that algorithm.adv_estimator=maxpo does not use: remove it or choose "
            "algorithm.adv_estimator=gae"
        )
    n = config.actor_rollout_ref.rollout.n
    for step, objective in options.objectives.items():
        _check_group(objective, n, from_step(step, options.objectives))
    if len(options.objectives) > 1:
        _check_hook(config, f"algorithm.maxpo.k={options.k} is a schedule, which", "use one k")
    if options.rule != "reward":
        what = f"algorithm.maxpo.select_by={options.select_by}"
        _check_hook(config, what, "use algorithm.maxpo.select_by=reward")


def check_select_by(config: Any, reported: Mapping[str, Sequence[Info]]) -> None:
    """Check that the rewards report what ``algorithm.maxpo.select_by`` asks for, as far as it can be known.

    Args:
        config: verl's.
        reported: What the rewards said of some responses, by data source; a source of which nothing is known is
            checked in the first training step.

    Raises:
        ValueError: They do not, or a correct response has no answer to vote with.
    """
    if config.algorithm.adv_estimator != ESTIMATOR_NAME:
        return
    options = MaxPOConfig.from_algorithm(config.algorithm)
    if options.rule == "reward":
        return
    for source, infos in reported.items():
        try:
            chosen = chosen_by(infos, [False] * len(infos), options.select_by)
        except ValueError as error:
            raise ValueError(f"{error} (data source {source!r})") from None
        if options.rule == "vote" and any(
            value is None and info.get("acc") == 1 for value, info in zip(chosen, infos, strict=True)
        ):
            raise ValueError(
                f"algorithm.maxpo.select_by=vote needs an answer to vote with, but a correct response of {source!r} "
                f'has none: return {{"score": ..., "answer": ...}} from its reward function or verifier'
            )


def _check_group(objective: Objective, n: int, when: str) -> None:
    k = objective.k if objective.k == "all" else max(objective.k)
    if n < objective.smallest_group:
        raise ValueError(
            f"algorithm.maxpo.k={k} needs groups of at least {objective.smallest_group} responses, got "
            f"actor_rollout_ref.rollout.n={n}{when}: raise actor_rollout_ref.rollout.n or lower algorithm.maxpo.k"
        )
    if objective.baseline == "group_mean" and objective.smallest_k == n:
        raise ValueError(
            f"algorithm.maxpo.baseline=group_mean gives zero advantages where algorithm.maxpo.k={k} is "
            f"actor_rollout_ref.rollout.n={n}{when}: raise actor_rollout_ref.rollout.n or lower algorithm.maxpo.k"
        )


def _check_unscored(config: Any, is_ours: bool) -> None:
    what = "reward.reward_kwargs.unscored=drop"
    if not is_ours:
        raise ValueError(
            f"{what} needs algorithm.adv_estimator=maxpo, got {config.algorithm.adv_estimator}, which would count the "
            "rewards of unscored responses in their groups: use reward.reward_kwargs.unscored=zero"
        )
    _check_hook(config, what, "use reward.reward_kwargs.unscored=zero")


def _check_hook(config: Any, what: str, otherwise: str) -> None:
    """Check that the trainer tells the estimator about its steps."""
    if not OmegaConf.select(config, "trainer.use_v1", default=True):
        raise ValueError(f"{what} needs verl's V1 trainer, got trainer.use_v1=false: remove that or {otherwise}")
    if not hooks.sees_steps():
        raise ValueError(f"{what} needs a hook that this version of verl does not take (see the warning): {otherwise}")
