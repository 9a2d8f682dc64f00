#!/usr/bin/env bash
# Train the quickstart's model with verl's own trainer (FSDP2 actor, vLLM rollout), on CPU.
#   ESTIMATOR=grpo SEED=1 ./run_tiny_fsdp2_cpu.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
TASK=${TASK:-hidden_digit} # or countdown, see countdown.py
[ "$TASK" = hidden_digit ] && folder=quickstart || folder=$TASK
DATA=$(realpath -m "${DATA:-outputs/$folder}") # what prepare.py wrote
OUT=${OUT:-$DATA}
MODEL=${MODEL:-$DATA/model}
K=${K:-4}
N=${N:-16}
PROMPTS=${PROMPTS:-8} # in a step, with N responses each
[ "${ESTIMATOR:-maxpo}" = grpo ] && best=1e-4 || best=2e-4 # of both, see README.md
LR=${LR:-$best}
STEPS=${STEPS:-40}
EVAL_PROBLEMS=${EVAL_PROBLEMS:-300} # held-out problems to evaluate on, all 300 at most
TIME_LIMIT=${TIME_LIMIT:-20m}
OWN_SETTINGS=(TASK STEPS PROMPTS EVAL_PROBLEMS)
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

on_cpu 1
export HF_HUB_OFFLINE=1

TRAIN_FILE=$DATA/train.parquet TEST_FILES=("$DATA/test.parquet") CHECK=false
ready

exec timeout "$TIME_LIMIT" python -m verl.trainer.main_ppo \
    --config-path pkg://verl_maxpo.config --config-name quickstart "${SETTINGS[@]}" \
    data.train_batch_size="$PROMPTS" \
    data.val_max_samples="$EVAL_PROBLEMS" \
    actor_rollout_ref.actor.ppo_mini_batch_size="$PROMPTS" \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=$((PROMPTS * N)) \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=$((PROMPTS * N)) \
    trainer.test_freq="$STEPS" "$@"
