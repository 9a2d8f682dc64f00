"""What verl loads in every process: the entry point ``maxpo`` of the group ``verl.plugins``.

Importing this module registers the estimator, the reward manager and, where ``VERL_PLATFORM=cpu`` asks for it, the CPU
platform, each by itself: if one fails, the others still work. Where entry points are switched off, name the module in
the environment: ``VERL_USE_EXTERNAL_MODULES=verl_maxpo.plugin``.
"""

import logging
import os
from importlib import import_module

logger = logging.getLogger("verl_maxpo")

#: What does not work if the module fails to register.
FEATURES = {
    "verl_maxpo.trainer.hooks": "algorithm.adv_estimator=maxpo will be unknown",
    "verl_maxpo.rewards.adapters.registration": "reward.reward_manager.name=verifier will be unknown",
    "verl_maxpo.startup": "errors of the configuration will show after the first rollout only",
    "verl_maxpo.cpu.platform": "VERL_PLATFORM=cpu will not work",
}


def register() -> None:
    """Register every feature with verl. Safe to call again.

    A name that verl or another plugin has already taken is reported and left alone.

    Raises:
        Exception: The error of the first feature that failed, after a warning for each: verl itself logs a failing
            plugin only at DEBUG.
    """
    _warn_if_untested()
    errors = [error for module in _wanted() if (error := _register(module)) is not None]
    if errors:
        raise errors[0]


def _wanted() -> list[str]:
    on_cpu = os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu"
    return [module for module in FEATURES if on_cpu or not module.startswith("verl_maxpo.cpu")]


def _register(module: str) -> Exception | None:
    try:
        import_module(module).register()
    except Exception as error:
        logger.warning(
            "%s, because verl-maxpo could not register it: %s: %s. Run `verl-maxpo doctor`.",
            FEATURES[module],
            type(error).__name__,
            error,
        )
        return error
    return None


def _warn_if_untested() -> None:
    import verl

    from verl_maxpo import TESTED_VERL

    if verl.__version__ not in TESTED_VERL:
        logger.warning("verl-maxpo was run with verl %s; verl %s is untested", ", ".join(TESTED_VERL), verl.__version__)


register()
