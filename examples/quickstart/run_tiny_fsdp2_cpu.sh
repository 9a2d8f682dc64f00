#!/usr/bin/env bash
# Train the quickstart's model with verl's own trainer (FSDP2 actor, vLLM rollout), on CPU.
#   ESTIMATOR=grpo SEED=1 ./run_tiny_fsdp2_cpu.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
TASK=${TASK:-countdown} # or hidden_digit, see countdown.py
[ "$TASK" = countdown ] && folder=quickstart || folder=$TASK
DATA=$(realpath -m "${DATA:-outputs/$folder}") # what prepare.py wrote
OUT=${OUT:-$DATA}
MODEL=${MODEL:-$DATA/model}
K=${K:-4}
N=${N:-8}
LR=${LR:-1.5e-4}
STEPS=${STEPS:-50}
EVAL_PROBLEMS=${EVAL_PROBLEMS:-100} # held-out problems to evaluate on, 300 at most
TIME_LIMIT=${TIME_LIMIT:-20m}
OWN_SETTINGS=(TASK STEPS EVAL_PROBLEMS)
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

on_cpu 1
export HF_HUB_OFFLINE=1

TRAIN_FILE=$DATA/train.parquet TEST_FILES=("$DATA/test.parquet") CHECK=false
ready

exec timeout "$TIME_LIMIT" python -m verl.trainer.main_ppo \
    --config-path pkg://verl_maxpo.config --config-name quickstart "${SETTINGS[@]}" \
    data.val_max_samples="$EVAL_PROBLEMS" \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=$((16 * N)) \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=$((16 * N)) \
    trainer.test_freq=$((STEPS / 2)) "$@"
