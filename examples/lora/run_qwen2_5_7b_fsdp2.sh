#!/usr/bin/env bash
# GSM8K with LoRA adapters on Qwen2.5-7B-Instruct on one GPU | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/lora/run_qwen2_5_7b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override ----
MODEL=${MODEL:-Qwen/Qwen2.5-7B-Instruct}
ESTIMATOR=${ESTIMATOR:-maxpo} # or loo_minus_one, loo, none, group_mean; grpo, rloo, grpo_passk of verl
K=${K:-8}                     # the K of max@K
N=${N:-16}                    # responses for a prompt, more than K
SEED=${SEED:-0}               # of the data order and of sampling
STEPS=${STEPS:-200}
GPUS=${GPUS:-1}
OUT=${OUT:-outputs/lora}      # a folder for each run, named $ESTIMATOR-seed$SEED
DATA=${DATA:-outputs/data}
# --------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

prepare gsm8k gsm8k
check_rewards "$DATA"/gsm8k/{train,test}.parquet

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name lora "${COMMON[@]}" \
    data.train_files="$DATA/gsm8k/train.parquet" data.val_files="$DATA/gsm8k/test.parquet" "$@"
