#!/usr/bin/env bash
# Run one of the run scripts for several estimators and seeds, one after another, and write a report on all of them.
# Finished runs are kept, and one that was interrupted goes on from its last checkpoint, if it has one.
#   ESTIMATORS="maxpo grpo" SEEDS="0 1 2" examples/compare.sh examples/gsm8k/run_qwen2_5_0_5b_fsdp2.sh [override...]
set -euo pipefail

script=${1:?usage: compare.sh RUN_SCRIPT [any override of verl\'s configuration]}
shift
export OUT=${OUT:-outputs/$(basename "$(dirname "$script")")}

runs=()
for SEED in ${SEEDS:-0 1 2}; do
    for ESTIMATOR in ${ESTIMATORS:-maxpo grpo}; do
        run=$OUT/$ESTIMATOR-seed$SEED
        runs+=("$run")
        [ -f "$run/finished" ] && continue
        export SEED ESTIMATOR
        bash "$script" "$@"
        touch "$run/finished"
    done
done
python -m verl_maxpo evaluate "${runs[@]}" --out "$OUT/report"
