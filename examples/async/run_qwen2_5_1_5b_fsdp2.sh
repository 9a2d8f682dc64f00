#!/usr/bin/env bash
# GSM8K with Qwen2.5-1.5B-Instruct, rollout and training at the same time | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/async/run_qwen2_5_1_5b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
MODE=${MODE:-colocate_async}    # on the same GPUs; or separate_async, with GPUs to train on and ROLLOUT_GPUS more
ROLLOUT_GPUS=${ROLLOUT_GPUS:-1}
TAG=${TAG:-$MODE}
OWN_SETTINGS=(MODE ROLLOUT_GPUS)
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

MODE_ARGS=(trainer.v1.trainer_mode="$MODE")
if [ "$MODE" = separate_async ]; then
    MODE_ARGS+=(
        actor_rollout_ref.rollout.nnodes=1
        actor_rollout_ref.rollout.n_gpus_per_node="$ROLLOUT_GPUS"
        actor_rollout_ref.rollout.checkpoint_engine.backend=nccl
    )
fi

prepare gsm8k gsm8k
ready

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name async \
    "${SETTINGS[@]}" "${MODE_ARGS[@]}" "$@"
