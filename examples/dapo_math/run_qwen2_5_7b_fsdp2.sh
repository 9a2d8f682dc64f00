#!/usr/bin/env bash
# DAPO-Math-17k with DAPO's choices and Qwen2.5-7B on eight GPUs | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/dapo_math/run_qwen2_5_7b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
MODEL=${MODEL:-Qwen/Qwen2.5-7B}
GPUS=${GPUS:-8}
OVERLONG=${OVERLONG:-false} # DAPO's soft punishment of the last 4096 tokens of a response
[ "$OVERLONG" = false ] || TAG=${TAG:-overlong}
OWN_SETTINGS=(OVERLONG)
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

prepare_apart dapo_math aime24 aime25 amc23
ready

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name dapo_math \
    "${SETTINGS[@]}" reward.reward_kwargs.overlong_buffer_cfg.enable="$OVERLONG" "$@"
