#!/usr/bin/env bash
# Countdown with Qwen2.5-1.5B-Instruct on one GPU, without a download of data | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/countdown/run_qwen2_5_1_5b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override ----
MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
ESTIMATOR=${ESTIMATOR:-maxpo} # or loo_minus_one, loo, none, group_mean; grpo, rloo, grpo_passk of verl
K=${K:-8}                     # the K of max@K
N=${N:-16}                    # responses for a prompt, more than K
SEED=${SEED:-0}               # of the data order and of sampling
STEPS=${STEPS:-200}
GPUS=${GPUS:-1}
OUT=${OUT:-outputs/countdown} # a folder for each run, named $ESTIMATOR-seed$SEED
DATA=${DATA:-outputs/data}
# --------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# Three or four numbers up to 50 and a target up to 100, instead of four to six numbers and a target up to 999
prepare countdown reasoning_gym:countdown \
    --task-config min_numbers=3 max_numbers=4 max_value=50 min_target=10 max_target=100
check_rewards "$DATA"/countdown/{train,test}.parquet

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name countdown "${COMMON[@]}" \
    data.train_files="$DATA/countdown/train.parquet" data.val_files="$DATA/countdown/test.parquet" "$@"
