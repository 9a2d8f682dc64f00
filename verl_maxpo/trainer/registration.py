"""Registers the estimator ``maxpo`` with verl."""

import logging
from collections.abc import Callable

from verl_maxpo.trainer import ESTIMATOR_NAME, hooks
from verl_maxpo.trainer.estimator import compute_maxpo_outcome_advantage

logger = logging.getLogger(__name__)


def register() -> None:
    """Register it, and the hooks on the trainer; a name that is taken is reported and left alone."""
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, register_adv_est

    registered = ADV_ESTIMATOR_REGISTRY.get(ESTIMATOR_NAME)
    if registered is None:
        register_adv_est(ESTIMATOR_NAME)(compute_maxpo_outcome_advantage)
        hooks.install()
    elif _full_name(registered) != _full_name(compute_maxpo_outcome_advantage):
        logger.warning(
            "the advantage estimator %r is already %s and stays that: verl-maxpo's is not registered",
            ESTIMATOR_NAME,
            _full_name(registered),
        )


def _full_name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
