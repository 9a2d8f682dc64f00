#!/usr/bin/env bash
# Study 3: hidden digit in verl (FSDP2 and vLLM, on CPU) with GRPO, MaxPO and MaxRL, each at its best learning rate in
# plain PyTorch, evaluated before training and after it. A run takes about half an hour on two free cores; runs that have
# ended are kept.
#   SEEDS="0 1 2" STEPS=400 examples/reproduction/in_verl.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

export TASK=hidden_digit K=4 N=8 PROMPTS=16 STEPS=${STEPS:-400} EVAL_PROBLEMS=${EVAL_PROBLEMS:-300}
export DATA=${DATA:-outputs/hidden_digit} TIME_LIMIT=${TIME_LIMIT:-90m}
for SEED in ${SEEDS:-0 1 2}; do
    for ESTIMATOR in ${ESTIMATORS:-grpo maxpo maxrl}; do
        LR=$(python examples/reproduction/report.py --best-rate hidden_digit "${ESTIMATOR/maxrl/all}")
        export SEED ESTIMATOR LR
        examples/quickstart/quickstart.sh actor_rollout_ref.rollout.val_kwargs.n=16
        run=$(examples/quickstart/quickstart.sh --settings | sed -n 's/^RUN=//p')
        python examples/reproduction/in_verl.py "$run"
    done
done
