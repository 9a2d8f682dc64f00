#!/usr/bin/env bash
# Shortest paths with Qwen2.5-1.5B-Instruct on one GPU, without a download of data | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/maze/run_qwen2_5_1_5b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override ----
MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
ESTIMATOR=${ESTIMATOR:-maxpo} # or loo_minus_one, loo, none, group_mean; grpo, rloo, grpo_passk of verl
K=${K:-8}                     # the K of max@K
N=${N:-16}                    # responses for a prompt, more than K
SEED=${SEED:-0}               # of the data order and of sampling
STEPS=${STEPS:-200}
GPUS=${GPUS:-1}
OUT=${OUT:-outputs/maze}      # a folder for each run, named $ESTIMATOR-seed$SEED
DATA=${DATA:-outputs/data}
# --------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# Of the task's own grids 38% have no path, and "infeasible" is an answer that pays without a search; of these 5%
prepare maze reasoning_gym:shortest_path --task-config p_blocked=0.2
check_rewards "$DATA"/maze/{train,test}.parquet

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name maze "${COMMON[@]}" \
    data.train_files="$DATA/maze/train.parquet" data.val_files="$DATA/maze/test.parquet" "$@"
