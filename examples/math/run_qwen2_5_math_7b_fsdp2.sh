#!/usr/bin/env bash
# MATH with Qwen2.5-Math-7B on eight GPUs, evaluated on four other sets | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/math/run_qwen2_5_math_7b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
MODEL=${MODEL:-Qwen/Qwen2.5-Math-7B}
GPUS=${GPUS:-8}
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

prepare_apart math math500 aime24 aime25 amc23
ready

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name math \
    "${SETTINGS[@]}" "$@"
