"""How verl finds the estimator, and the hooks on its trainers, for steps and for validation."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import changed, expect_parameters
from verl_maxpo.trainer import ESTIMATOR_NAME
from verl_maxpo.trainer.config import MaxPOConfig
from verl_maxpo.trainer.estimator import compute_maxpo_outcome_advantage
from verl_maxpo.trainer.metrics import PREFIX
from verl_maxpo.trainer.reward_info import chosen_by, drop_unscored, drops_unscored, reward_infos
from verl_maxpo.trainer.step import TrainerStep, trainer_step
from verl_maxpo.trainer.validation import bootstrapped, current_select_by, switched_on, validation_metrics

logger = logging.getLogger(__name__)

TRAINER = "verl.trainer.ppo.v1.trainer_base"
METRICS = "verl.trainer.ppo.metric_utils"

#: The modules of trainers whose steps the estimator sees.
_hooked: set[str] = set()


def register() -> None:
    """Register the estimator, and the hooks on the trainers; a name that is taken is reported and left alone."""
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, register_adv_est

    registered = ADV_ESTIMATOR_REGISTRY.get(ESTIMATOR_NAME)
    if registered is None:
        register_adv_est(ESTIMATOR_NAME)(compute_maxpo_outcome_advantage)
        _install()
    elif _full_name(registered) != _full_name(compute_maxpo_outcome_advantage):
        logger.warning(
            "the advantage estimator %r is already %s and stays that: verl-maxpo's is not registered",
            ESTIMATOR_NAME,
            _full_name(registered),
        )


def _full_name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _install() -> None:
    """Apply the hooks when verl's trainers are imported."""
    wrapt.register_post_import_hook(show_select_by, TRAINER)
    wrapt.register_post_import_hook(show_trainer_step, TRAINER)
    wrapt.register_post_import_hook(quicken_bootstrap, METRICS)
    for trainer in (TRAINER, "verl.trainer.ppo.ray_trainer"):
        wrapt.register_post_import_hook(add_validation_metrics, trainer)


def sees_steps() -> bool:
    """Tell whether the estimator sees the steps of verl's V1 trainer; with a changed verl it may not."""
    import_module(TRAINER)
    return TRAINER in _hooked


def show_trainer_step(module: ModuleType) -> None:
    """Let maxpo see the step that the trainer computes advantages for.

    Training works without this hook, so a changed verl only warns.
    """
    try:
        expect_parameters(module, "PPOTrainer._compute_advantage", ["self", "batch", "metrics"])
    except RuntimeError as error:
        logger.warning("%s. Until then maxpo logs no metrics and counts every row of a session as a response", error)
        return

    @wrapt.patch_function_wrapper(module, "PPOTrainer._compute_advantage")
    def compute_advantage(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        if instance.config.algorithm.adv_estimator != ESTIMATOR_NAME:
            return wrapped(*args, **kwargs)
        arguments = inspect.signature(wrapped).bind(*args, **kwargs).arguments
        batch, metrics = arguments["batch"], arguments["metrics"]
        is_padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]
        options, drops = MaxPOConfig.from_algorithm(instance.config.algorithm), drops_unscored(instance.config)
        chosen = None
        if drops or options.rule != "reward":
            fields = {"partition_id": batch.partition_id, "select_fields": ["extra_fields"]}
            infos = reward_infos(list(module.tq.kv_batch_get(keys=batch.keys, **fields)["extra_fields"]))
            if drops:
                metrics[f"{PREFIX}/responses/unscored"] = drop_unscored(module.tq, batch, infos, is_padding)
            if options.rule != "reward":
                chosen = chosen_by(infos, is_padding, options.select_by)
        with trainer_step(TrainerStep(instance.global_steps, batch.keys, is_padding, metrics, chosen)):
            return wrapped(*args, **kwargs)

    _hooked.add(module.__name__)


def show_select_by(module: ModuleType) -> None:
    """Let validation know ``algorithm.maxpo.select_by``."""
    try:
        columns = ["self", "data_sources", "sample_uids", "reward_extra_infos_dict", "sample_turns"]
        expect_parameters(module, "PPOTrainer._val_metrics_update", [*columns, "expected_acc_counts"], columns)
    except RuntimeError as error:
        logger.warning("%s. Until then validation has no selected@k", error)
        return

    @wrapt.patch_function_wrapper(module, "PPOTrainer._val_metrics_update")
    def val_metrics_update(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        algorithm = instance.config.algorithm if instance is not None else {}
        if algorithm.get("adv_estimator") != ESTIMATOR_NAME:
            return wrapped(*args, **kwargs)
        token = current_select_by.set(MaxPOConfig.from_algorithm(algorithm).select_by)
        try:
            return wrapped(*args, **kwargs)
        finally:
            current_select_by.reset(token)


def add_validation_metrics(module: ModuleType) -> None:
    """Add pass@k, max@k and maj@k to the validation metrics of a trainer, whatever its estimator.

    Validation works without this hook, so a changed verl or unusable values only warn.
    """
    without = "Until then validation has no pass@k"
    try:
        if not switched_on():
            return
        expect_parameters(
            module,
            "process_validation_metrics",
            ["data_sources", "sample_uids", "infos_dict", "seed", "expected_acc_counts"],
            ["data_sources", "sample_uids", "infos_dict", "seed"],  # 0.9.0
        )
    except (RuntimeError, ValueError) as error:
        logger.warning("%s. %s", error, without)
        return

    @wrapt.patch_function_wrapper(module, "process_validation_metrics")
    def process_validation_metrics(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        metrics = wrapped(*args, **kwargs)
        arguments = inspect.signature(wrapped).bind(*args, **kwargs).arguments
        arguments.pop("seed", None)
        try:
            ours = validation_metrics(**arguments, select_by=current_select_by.get())
        except (TypeError, ValueError) as error:
            logger.warning("this validation has no pass@k and max@k: %s", error)
            return metrics
        for source, variables in ours.items():
            for variable, values in variables.items():
                metrics[source][variable] = {**values, **metrics[source][variable]}
        return metrics


def quicken_bootstrap(module: ModuleType) -> None:
    """Let verl's best@k and worst@k take hundredths of their time, whatever the estimator; their values stay the same.

    The first bootstrap of a process is computed in both ways. If verl's differs, or its function has changed, verl's
    stays, with a warning.
    """
    slow = "Until then verl's best@k takes about 20 ms of each validation for every prompt and number"
    try:
        expect_parameters(module, "bootstrap_metric", ["data", "subset_size", "reduce_fns", "n_bootstrap", "seed"])
    except RuntimeError as error:
        logger.warning("%s. %s", error, slow)
        return
    signature, agrees = inspect.signature(module.bootstrap_metric), None

    @wrapt.patch_function_wrapper(module, "bootstrap_metric")
    def bootstrap_metric(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        nonlocal agrees
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        ours = None if agrees is False else bootstrapped(**given.arguments)
        if ours is None:
            return wrapped(*args, **kwargs)
        if agrees is None:
            verls = wrapped(*args, **kwargs)
            agrees = ours == verls
            if not agrees:
                error = changed(module, "bootstrap_metric", f"to return {ours} for {given.arguments}", str(verls))
                logger.warning("%s. %s", error, slow)
                return verls
        return ours
