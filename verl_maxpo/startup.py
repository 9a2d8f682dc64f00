"""What verl-maxpo checks of a run before any model is loaded.

Each trainer passes one of two doors in the process of the command: ``main_ppo`` calls ``validate_config``, and the
others (``fully_async_policy``, ``one_step_off_policy``, recipes with a main of their own) call ``main_ppo.run_ppo``.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import wrapt
from omegaconf import OmegaConf

from verl_maxpo.guards import expect_parameters
from verl_maxpo.messages import did_you_mean, override

logger = logging.getLogger(__name__)

#: The two doors: module, function and parameters.
DOORS = (
    ("verl.utils.config", "validate_config", ["config", "use_reference_policy", "use_critic"]),
    ("verl.trainer.main_ppo", "run_ppo", ["config", "task_runner_class"]),
)

# CPU slots of Ray that verl 0.9.1 and TransferQueue 0.1 hold for the whole run, and wait for silently and forever. All
# other actors (reward workers, agent loops, vLLM's servers, the trainer itself) need a free slot only while Ray places
# them.
#: The bundle of one GPU: ``ResourcePoolManager.max_colocate_count``.
SLOTS_PER_GPU = 3
#: The same of a rollout with GPUs of its own: ``RolloutReplica.init_standalone``.
SLOTS_PER_ROLLOUT_GPU = 2
#: ``TransferQueueController``.
SLOTS_OF_CONTROLLER = 1
#: The slot in which actors are placed one after the other.
FREE_SLOTS = 1


@cache
def register() -> None:
    """Make the checks whenever verl validates a configuration or starts a run; safe to call again."""
    for module, name, parameters in DOORS:
        hook = partial(check_before, name=name, parameters=parameters)
        wrapt.register_post_import_hook(hook, module)


def check_before(module: ModuleType, name: str, parameters: list[str]) -> None:
    """Let a function of verl, which has these parameters, make the checks first."""
    try:
        expect_parameters(module, name, parameters)
    except RuntimeError as error:
        logger.warning("%s. Until then errors of the configuration show after the first rollout only", error)
        return

    @wrapt.patch_function_wrapper(module, name)
    def checked(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        check(inspect.signature(wrapped).bind(*args, **kwargs).arguments["config"])
        return wrapped(*args, **kwargs)


def check(config: Any) -> None:
    """Check verl's whole configuration, cheap checks first.

    Raises:
        ValueError: Something is unusable; the message names the key, what came and what to do.
    """
    from verl_maxpo.trainer.check import check_algorithm, check_select_by

    check_estimator(config.algorithm.adv_estimator)
    check_algorithm(config)
    check_model(config)
    check_slots(config)
    check_select_by(config, _reported(config))


def check_estimator(name: Any) -> None:
    """Check that verl knows an advantage estimator, and warn of a name that may still be registered elsewhere.

    Raises:
        ValueError: verl does not know it, but knows one with nearly that name.
    """
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    known = sorted(map(str, ADV_ESTIMATOR_REGISTRY))
    if str(name) in known:
        return
    near = did_you_mean(str(name), known)
    message = f"algorithm.adv_estimator={name} is not an estimator that verl knows{near}: there are {', '.join(known)}"
    if near:
        raise ValueError(message)
    logger.warning("%s", message)


def check_model(config: Any) -> None:
    """Check that the path of a model or tokenizer exists, if it can only be a folder of this machine.

    Raises:
        ValueError: There is no such folder.
    """
    for key in ("actor_rollout_ref.model.path", "actor_rollout_ref.model.tokenizer_path"):
        path = OmegaConf.select(config, key)
        is_folder = path and "://" not in path and (path.startswith(("/", ".", "~")) or path.count("/") > 1)
        if is_folder and not Path(path).expanduser().exists():
            raise ValueError(
                f"{key}={path} is not a folder here (from {Path.cwd()}), nor a name such as Qwen/Qwen3-0.6B"
            )


def slots_needed(*, gpus: int, storage_units: int, rollout_gpus: int = 0) -> int:
    """Return how many slots a run of verl's V1 trainer needs on one node.

    ``rollout_gpus`` are those of rollouts alone, of ``trainer_mode=separate_async``.
    """
    held = SLOTS_OF_CONTROLLER + storage_units + SLOTS_PER_GPU * gpus + SLOTS_PER_ROLLOUT_GPU * rollout_gpus
    return held + FREE_SLOTS


def check_slots(config: Any) -> None:
    """Check that the Ray that verl is about to start has the slots that the run waits for.

    Looks only at runs on one node that start their own Ray, where slots are few.

    Raises:
        ValueError: It has fewer; the message has the options that change that.
    """
    select = partial(OmegaConf.select, config)
    if not select("trainer.use_v1") or "async_training" in config or select("trainer.nnodes") != 1:
        return
    available = _slots_of_own_ray(select("ray_kwargs.ray_init") or {})
    if available is None:
        return
    simple = select("transfer_queue.backend.storage_backend") == "SimpleStorage"
    units_key = "transfer_queue.backend.SimpleStorage.num_data_storage_units"
    units = select(units_key) if simple else 0
    separate = select("trainer.v1.trainer_mode") == "separate_async"
    rollout_gpus = select("actor_rollout_ref.rollout.n_gpus_per_node") if separate else 0
    needed = slots_needed(gpus=select("trainer.n_gpus_per_node"), storage_units=units, rollout_gpus=rollout_gpus)
    if available < needed:
        fewer = f"{override(units_key, 1)} (now {units}) saves {units - 1}, and " if units > 1 else ""
        raise ValueError(
            f"the run needs {needed} CPU slots of Ray, which will have {available}, and would wait for more forever: "
            f"{fewer}{override('ray_kwargs.ray_init.num_cpus', needed)} declares so many slots, which most of verl's "
            "actors only sleep on"
        )


def _slots_of_own_ray(options: Mapping[str, Any]) -> int | None:
    """Return the slots of the Ray that verl will start, None if verl will find a running one."""
    import ray
    from ray._private.utils import get_num_cpus, read_ray_address

    if ray.is_initialized() or options.get("address") or os.environ.get("RAY_ADDRESS") or read_ray_address():
        return None
    declared = options.get("num_cpus")
    return int(get_num_cpus() if declared is None else declared)


def _reported(config: Any) -> Mapping[str, list[Mapping[str, Any]]]:
    """Check the rewards, and return what they reported of the responses on which they were tried."""
    try:
        from verl_maxpo.rewards.adapters.run_check import check_rewards
    except ModuleNotFoundError as error:
        if config.reward.reward_manager.name == "verifier":
            raise ValueError(
                f"reward.reward_manager.name=verifier needs the package {error.name}: pip install 'verl-maxpo[rewards]'"
            ) from None
        return {}
    return check_rewards(config)
