#!/usr/bin/env bash
# GSM8K with Qwen2.5-1.5B-Instruct, rollout and training at the same time | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/async/run_qwen2_5_1_5b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override ----
MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
ESTIMATOR=${ESTIMATOR:-maxpo} # or loo_minus_one, loo, none, group_mean; grpo, rloo, grpo_passk of verl
K=${K:-8}                     # the K of max@K
N=${N:-16}                    # responses for a prompt, more than K
SEED=${SEED:-0}               # of the data order and of sampling
STEPS=${STEPS:-200}
GPUS=${GPUS:-1}
MODE=${MODE:-colocate_async}  # on the same GPUs; or separate_async, with GPUs to train on and ROLLOUT_GPUS more
ROLLOUT_GPUS=${ROLLOUT_GPUS:-1}
OUT=${OUT:-outputs/async}     # a folder for each run, named $ESTIMATOR-seed$SEED
DATA=${DATA:-outputs/data}
# --------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

MODE_ARGS=(trainer.v1.trainer_mode="$MODE")
if [ "$MODE" = separate_async ]; then
    MODE_ARGS+=(
        actor_rollout_ref.rollout.nnodes=1
        actor_rollout_ref.rollout.n_gpus_per_node="$ROLLOUT_GPUS"
        actor_rollout_ref.rollout.checkpoint_engine.backend=nccl
    )
fi

prepare gsm8k gsm8k
check_rewards "$DATA"/gsm8k/{train,test}.parquet

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name async "${COMMON[@]}" \
    data.train_files="$DATA/gsm8k/train.parquet" data.val_files="$DATA/gsm8k/test.parquet" "${MODE_ARGS[@]}" "$@"
