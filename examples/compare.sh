#!/usr/bin/env bash
# Run one of the run scripts for several estimators, K and seeds, one after another, and write a report on all of them.
# Finished runs are kept, and one that was interrupted goes on from its last checkpoint, if it has one.
#   ESTIMATORS="maxpo grpo" KS="1 4 8" SEEDS="0 1 2" \
#       examples/compare.sh examples/gsm8k/run_qwen2_5_0_5b_fsdp2.sh [override...]
set -euo pipefail

script=${1:?usage: compare.sh RUN_SCRIPT [any override of verl\'s configuration]}
shift

setting() { # setting NAME: one line of the settings that the script prints
    sed -n "s/^$1=//p" <<<"$settings"
}

# Without KS and K, the script's own K.
if [ -n "${KS:-}" ]; then read -ra ks <<<"$KS"; else ks=("${K:-}"); fi
runs=()
for SEED in ${SEEDS:-0 1 2}; do
    for ESTIMATOR in ${ESTIMATORS:-maxpo grpo}; do
        for K in "${ks[@]}"; do
            export SEED ESTIMATOR K
            settings=$(bash "$script" --settings "$@")
            run=$(setting RUN)
            [[ " ${runs[*]} " != *" $run "* ]] || continue # an estimator without K runs once
            runs+=("$run")
            [ "$(cat "$run/finished" 2>/dev/null)" = "$(setting STEPS)" ] && continue
            bash "$script" "$@"
            setting STEPS >"$run/finished"
        done
    done
done
python -m verl_maxpo evaluate "${runs[@]}" --out "$(setting OUT)/report"
