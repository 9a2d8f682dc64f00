"""How many CPU slots of Ray a run of verl needs, so that none waits for them forever.

Read from verl 0.9.1 and TransferQueue 0.1: what stands here holds its slots as long as the run lasts, and verl waits
for it without a limit and without a word. All other actors (reward workers, agent loops, vLLM's servers, the trainer
itself) need a free slot for the moment in which they are placed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import OmegaConf

#: The bundle of one GPU: ``ResourcePoolManager.max_colocate_count``.
SLOTS_PER_GPU = 3
#: The same of a rollout with GPUs of its own: ``RolloutReplica.init_standalone``.
SLOTS_PER_ROLLOUT_GPU = 2
#: ``TransferQueueController``.
SLOTS_OF_CONTROLLER = 1
#: The slot in which actors are placed one after the other.
FREE_SLOTS = 1


def slots_needed(*, gpus: int, storage_units: int, rollout_gpus: int = 0) -> int:
    """Return how many slots a run of verl's V1 trainer needs on one node.

    ``rollout_gpus`` are those of rollouts alone, of ``trainer_mode=separate_async``.
    """
    held = SLOTS_OF_CONTROLLER + storage_units + SLOTS_PER_GPU * gpus + SLOTS_PER_ROLLOUT_GPU * rollout_gpus
    return held + FREE_SLOTS


def check_slots(config: Any) -> None:
    """Check that the Ray that verl is about to start has the slots that the run waits for.

    Looks only at a run on one node with a Ray of its own, which is where slots are few.

    Raises:
        ValueError: It has fewer; the message has the options that change that.
    """
    select = partial(OmegaConf.select, config)
    if not select("trainer.use_v1") or "async_training" in config or select("trainer.nnodes") != 1:
        return
    there = _slots_of_own_ray(select("ray_kwargs.ray_init") or {})
    if there is None:
        return
    simple = select("transfer_queue.backend.storage_backend") == "SimpleStorage"
    units = select("transfer_queue.backend.SimpleStorage.num_data_storage_units") if simple else 0
    separate = select("trainer.v1.trainer_mode") == "separate_async"
    alone = select("actor_rollout_ref.rollout.n_gpus_per_node") if separate else 0
    gpus = select("trainer.n_gpus_per_node")
    needed = slots_needed(gpus=gpus, storage_units=units, rollout_gpus=alone)
    if there < needed:
        fewer = f"transfer_queue.backend.SimpleStorage.num_data_storage_units=1 (now {units}) saves {units - 1}"
        raise ValueError(
            f"the run needs {needed} CPU slots of Ray, which will have {there}, and would wait for more forever: "
            f"{fewer + ', and ' if units > 1 else ''}ray_kwargs.ray_init.num_cpus={needed} declares so many slots, "
            "which most of verl's actors only sleep on"
        )


def _slots_of_own_ray(options: Mapping[str, Any]) -> int | None:
    """Return the slots of the Ray that verl will start, None where it will find one that runs already."""
    import ray
    from ray._private.utils import get_num_cpus, read_ray_address

    if ray.is_initialized() or options.get("address") or os.environ.get("RAY_ADDRESS") or read_ray_address():
        return None
    declared = options.get("num_cpus")
    return int(get_num_cpus() if declared is None else declared)
