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

data_args=(
    data.train_batch_size=16
    data.val_max_samples="$EVAL_PROBLEMS"
    data.max_prompt_length=16
    data.max_response_length=8
)
actor_args=(
    actor_rollout_ref.actor.optim.lr_warmup_steps=5
    actor_rollout_ref.actor.ppo_mini_batch_size=16
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=$((16 * N))
)
rollout_args=(
    actor_rollout_ref.rollout.max_model_len=64
    actor_rollout_ref.rollout.max_num_batched_tokens=2048
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=$((16 * N))
    # Evaluation samples as training does, so that pass@k can be estimated for every k up to 16.
    actor_rollout_ref.rollout.val_kwargs.n=16
    actor_rollout_ref.rollout.val_kwargs.do_sample=true
    actor_rollout_ref.rollout.val_kwargs.temperature=1.0
)
trainer_args=(
    reward.reward_manager.name=verifier
    +reward.reward_kwargs.routes='{countdown4: {verifier: countdown, bare: true}}'
    trainer.test_freq=$((STEPS / 2))
    trainer.logger='[console,file,tensorboard]'
    trainer.project_name=quickstart
    trainer.resume_mode=disable
)

TRAIN_FILE=$DATA/train.parquet TEST_FILES=("$DATA/test.parquet") CHECK=false CONFIG=maxpo_trainer_cpu
train "${data_args[@]}" "${actor_args[@]}" "${rollout_args[@]}" "${trainer_args[@]}" "$@"
