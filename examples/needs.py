"""Calculate what the recipes need, from their configurations: the table of examples/README.md.

    python examples/needs.py

Memory and disk follow from the number of parameters and the configuration; nothing here is measured, and there are no
times: those of your first steps are in metrics-*.jsonl.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hydra import compose, initialize_config_module

from verl_maxpo.startup import slots_needed

GIB = 2**30
GPU = 79 * GIB  # of 80 GB, what a process finds
CONTEXTS = 2 * GIB  # CUDA and NCCL of the two processes on each GPU


class Model(NamedTuple):
    """What a model's config.json says."""

    parameters: float
    layers: int
    hidden: int
    vocabulary: int
    output_embeddings: int  # 1 if they are not those of the input
    adapters: float = 0  # LoRA's, of rank 64 on all linear layers


SMALLEST = Model(0.494e9, 24, 896, 151_936, 0)
SMALL = Model(1.544e9, 28, 1536, 151_936, 0)
LARGE = Model(7.616e9, 28, 3584, 152_064, 1)

# Recipe, or the configuration that it has from recipe.yaml: model and GPUs.
RECIPES: dict[str, tuple[Model, int]] = {
    "gsm8k": (SMALLEST, 1),
    "countdown": (SMALL, 1),
    "maze": (SMALL, 1),
    "async": (SMALL, 1),
    "lora": (LARGE._replace(adapters=161.5e6), 1),
    "math": (LARGE, 8),
    "dapo_math": (LARGE, 8),
}


def row(name: str) -> list[str]:
    """Return one recipe's line of the table."""
    model, gpus = RECIPES[name]
    overrides = [f"trainer.n_gpus_per_node={gpus}", "hydra.searchpath=[pkg://verl.trainer.config]"]
    with initialize_config_module("verl_maxpo.config", version_base=None):
        config: Any = compose("recipe" if name == "countdown" else name, overrides=overrides)
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor

    trained = model.adapters or model.parameters
    frozen = 4 * model.parameters if model.adapters else 0
    tokens = actor.ppo_max_token_len_per_gpu
    logits = 2 * 2 * tokens * model.vocabulary  # bf16, and their gradient
    activations = 2 * tokens * model.hidden * model.layers  # the inputs of layers, bf16
    embeddings = 2 * (1 + model.output_embeddings) * model.vocabulary * model.hidden  # gathered in bf16
    training = (16 * trained + frozen) / gpus + logits + activations + embeddings + CONTEXTS
    resident = 8 * trained if actor.fsdp_config.param_offload else 12 * trained + frozen
    generating = resident / gpus + rollout.gpu_memory_utilization * GPU + CONTEXTS

    units = config.transfer_queue.backend.SimpleStorage.num_data_storage_units
    cores = slots_needed(gpus=gpus, storage_units=units)
    memory = f"{training / GIB:.0f}, {generating / GIB:.0f}"
    responses = f"{config.data.train_batch_size * rollout.n:,}"
    return [f"[{name}]({name}/README.md)", f"{gpus}", f"{cores}", memory, f"{12 * trained / 1e9:.0f}", responses]


def table() -> str:
    """Return the table in Markdown."""
    heading = ["recipe", "GPUs", "cores", "GiB of a GPU, training, generating", "GB of a checkpoint"]
    rows = [[*heading, "responses of a step"], ["---"] * 6, *map(row, RECIPES)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


if __name__ == "__main__":
    print(table())
