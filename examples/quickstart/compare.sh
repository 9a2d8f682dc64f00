#!/usr/bin/env bash
# Train with several estimators and seeds, one run after another (about 7 minutes each on two cores), and show the
# mean and standard deviation over seeds. Finished runs are kept, so that an interrupted comparison goes on.
#   ESTIMATORS="maxpo grpo rloo" SEEDS="0 1 2 3" examples/quickstart/compare.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

export DATA=${DATA:-outputs/comparison} STEPS=${STEPS:-80} EVAL_PROBLEMS=${EVAL_PROBLEMS:-200}
for seed in ${SEEDS:-0 1 2}; do
    for estimator in ${ESTIMATORS:-maxpo grpo}; do
        ESTIMATOR=$estimator SEED=$seed examples/quickstart/quickstart.sh "$@"
    done
done
