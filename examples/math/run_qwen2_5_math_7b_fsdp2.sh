#!/usr/bin/env bash
# MATH with Qwen2.5-Math-7B on eight GPUs, evaluated on four other sets | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/math/run_qwen2_5_math_7b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override ----
MODEL=${MODEL:-Qwen/Qwen2.5-Math-7B}
ESTIMATOR=${ESTIMATOR:-maxpo} # or loo_minus_one, loo, none, group_mean; grpo, rloo, grpo_passk of verl
K=${K:-8}                     # the K of max@K
N=${N:-16}                    # responses for a prompt, more than K
SEED=${SEED:-0}               # of the data order and of sampling
STEPS=${STEPS:-200}
GPUS=${GPUS:-8}
OUT=${OUT:-outputs/math}      # a folder for each run, named $ESTIMATOR-seed$SEED
DATA=${DATA:-outputs/data}
# --------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

EVALUATION=()
for name in math500 aime24 aime25 amc23; do
    prepare $name $name
    EVALUATION+=("$DATA/$name/test.parquet")
done
prepare math math --against "${EVALUATION[@]}"
check_rewards "$DATA/math/train.parquet" "${EVALUATION[@]}"

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name math "${COMMON[@]}" \
    data.train_files="$DATA/math/train.parquet" data.val_files="[$(IFS=,; echo "${EVALUATION[*]}")]" "$@"
