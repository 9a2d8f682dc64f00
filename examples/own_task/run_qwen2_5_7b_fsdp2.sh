#!/usr/bin/env bash
# Your questions, your reward and your model on eight GPUs | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/own_task/run_qwen2_5_7b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
FILE=$(realpath "${FILE:-$here/qa.jsonl}")       # JSON lines, CSV or Parquet
QUESTION=${QUESTION:-question}                   # its column with the question
ANSWER=${ANSWER:-answer}                         # its column with the answer
SUFFIX=${SUFFIX-Think step by step, and end with the answer.} # what follows each question, or nothing
REWARD=$(realpath "${REWARD:-$here/reward.py}")  # has compute_score
MODEL=${MODEL:-Qwen/Qwen2.5-7B-Instruct}
GPUS=${GPUS:-8}
BATCH=${BATCH:-16}                               # questions of a step; 128 where there are thousands
K=${K:-8}
N=${N:-16}
LR=${LR:-1e-6}
OWN_SETTINGS=(FILE QUESTION ANSWER SUFFIX REWARD BATCH)
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$here/../common.sh"

VERIFIER=${VERIFIER:-"{verifier: python_function, path: $REWARD, name: compute_score}"} # and score_range: [0, 2], ...
CHECK_OPTIONS=(--option "default_verifier=$VERIFIER")
prepare own_task "$FILE" --question "$QUESTION" --answer "$ANSWER" --suffix "$SUFFIX" --data-source own_task
ready

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name recipe \
    'hydra.searchpath=[pkg://verl.trainer.config]' "${SETTINGS[@]}" \
    data.train_batch_size="$BATCH" actor_rollout_ref.actor.ppo_mini_batch_size="$BATCH" \
    reward.reward_kwargs.default_verifier="$VERIFIER" "$@"
