"""Calculate what the recipes need and cost, from their configurations: the table of examples/README.md.

    python examples/costs.py

Nothing here is measured. Memory and disk follow from the number of parameters; times follow from ASSUMED below, which
are round guesses for one H100: replace them by what the first steps of your run show.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hydra import compose, initialize_config_module

from verl_maxpo.resources import slots_needed

GIB = 2**30
GPU = 79 * GIB  # of 80 GB, what a process finds
CONTEXTS = 2 * GIB  # CUDA and NCCL of the two processes on each GPU
FLOPS = 989e12  # of an H100 in bf16


class Model(NamedTuple):
    """What a model's config.json says."""

    parameters: float
    layers: int
    hidden: int
    vocabulary: int
    output_embeddings: int  # 1 if they are not those of the input
    decoding: float  # ASSUMED: tokens a second that vLLM generates on one GPU, with hundreds of responses at once
    adapters: float = 0  # LoRA's, of rank 64 on all linear layers


SMALLEST = Model(0.494e9, 24, 896, 151_936, 0, 25_000)
SMALL = Model(1.544e9, 28, 1536, 151_936, 0, 15_000)
LARGE = Model(7.616e9, 28, 3584, 152_064, 1, 5_000)
UTILISATION = 0.3  # ASSUMED: share of FLOPS that training reaches
SECONDS_BETWEEN = 15  # ASSUMED: of a step beside generation and training: weights to vLLM, sleep, rewards

# Recipe: model, GPUs, tokens of a prompt and a response (ASSUMED), problems of a validation that is not cut short.
RECIPES: dict[str, tuple[Model, int, int, int, int]] = {
    "gsm8k": (SMALLEST, 1, 120, 250, 1319),
    "countdown": (SMALL, 1, 150, 350, 200),
    "maze": (SMALL, 1, 400, 350, 200),
    "async": (SMALL, 1, 120, 250, 1319),
    "lora": (LARGE._replace(adapters=161.5e6), 1, 120, 250, 1319),
    "math": (LARGE, 8, 150, 700, 600),
    "dapo_math": (LARGE, 8, 150, 1500, 100),
}
STEPS = 200


def row(name: str) -> list[str]:
    """Return one recipe's line of the table."""
    model, gpus, prompt, response, problems = RECIPES[name]
    with initialize_config_module("verl_maxpo.config", version_base=None):
        config: Any = compose(name, overrides=[f"trainer.n_gpus_per_node={gpus}"])
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

    batch = config.data.train_batch_size * rollout.n
    validated = (min(problems, config.data.val_max_samples) if config.data.val_max_samples > 0 else problems) * 16
    # Forward for the old log-probabilities; forward, recomputed forward and backward for the update
    work = (2 + 8) * model.parameters * batch * (prompt + response) / (UTILISATION * FLOPS * gpus)
    step = batch * response / (model.decoding * gpus) + work + SECONDS_BETWEEN
    validation = validated * response / (model.decoding * gpus)
    whole = STEPS * step + (1 + STEPS // config.trainer.test_freq) * validation
    units = config.transfer_queue.backend.SimpleStorage.num_data_storage_units
    return [
        f"[{name}]({name}/README.md)",
        f"{gpus}",
        f"{slots_needed(gpus=gpus, storage_units=units)}",
        f"{training / GIB:.0f}, {generating / GIB:.0f}",
        f"{12 * trained / 1e9:.0f}",
        f"{batch:,}",
        f"{validated:,}",
        f"{_two_digits(step)} s",
        f"{_two_digits(validation)} s",
        f"{_two_digits(whole / 3600)} h",
    ]


def table() -> str:
    """Return the table in Markdown."""
    heading = [
        *("recipe", "GPUs", "cores", "GiB of a GPU, training, generating", "GB of a checkpoint"),
        *("responses of a step", "of a validation", "time of a step", "of a validation", f"of {STEPS} steps"),
    ]
    rows = [heading, ["---"] * len(heading), *map(row, RECIPES)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _two_digits(number: float) -> str:
    digits = 1 - math.floor(math.log10(number))
    return f"{round(number, digits):.{max(digits, 0)}f}"


if __name__ == "__main__":
    print(table())
