#!/usr/bin/env bash
# DAPO-Math-17k with DAPO's choices and Qwen2.5-7B on eight GPUs | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/dapo_math/run_qwen2_5_7b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override ----
MODEL=${MODEL:-Qwen/Qwen2.5-7B}
ESTIMATOR=${ESTIMATOR:-maxpo} # or loo_minus_one, loo, none, group_mean; grpo, rloo, grpo_passk of verl
K=${K:-8}                     # the K of max@K
N=${N:-16}                    # responses for a prompt, more than K
SEED=${SEED:-0}               # of the data order and of sampling
STEPS=${STEPS:-200}
GPUS=${GPUS:-8}
OVERLONG=${OVERLONG:-false}   # DAPO's soft punishment of the last 4096 tokens of a response
OUT=${OUT:-outputs/dapo_math} # a folder for each run, named $ESTIMATOR-seed$SEED
DATA=${DATA:-outputs/data}
# --------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

EVALUATION=()
for name in aime24 aime25 amc23; do
    prepare $name $name
    EVALUATION+=("$DATA/$name/test.parquet")
done
prepare dapo_math dapo_math --against "${EVALUATION[@]}"
check_rewards "$DATA/dapo_math/train.parquet" "${EVALUATION[@]}"

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name dapo_math "${COMMON[@]}" \
    data.train_files="$DATA/dapo_math/train.parquet" data.val_files="[$(IFS=,; echo "${EVALUATION[*]}")]" \
    reward.reward_kwargs.overlong_buffer_cfg.enable="$OVERLONG" "$@"
