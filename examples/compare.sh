#!/usr/bin/env bash
# Run one of the run scripts for several estimators, K, learning rates and seeds, one after another, and write a report on
# all of them. Finished runs are skipped, and one that was interrupted goes on from its last checkpoint, if it has one.
# Give each estimator several learning rates: which one is best differs, and a comparison at one rate shows little.
#   ESTIMATORS="maxpo grpo" KS="4 8" LRS="3e-7 1e-6 3e-6" SEEDS="0 1 2" \
#       examples/compare.sh examples/gsm8k/run_qwen2_5_0_5b_fsdp2.sh [override...]
set -euo pipefail

script=${1:?usage: compare.sh RUN_SCRIPT [any override of verl\'s configuration]}
shift

setting() { # setting NAME: one line of the settings that the script prints
    sed -n "s/^$1=//p" <<<"$settings"
}

# Without KS or LRS, K or LR; without these, the script's own.
read -ra estimators <<<"${ESTIMATORS:-maxpo grpo}"
[ -n "${KS:-}" ] && read -ra ks <<<"$KS" || ks=("${K:-}")
[ -n "${LRS:-}" ] && read -ra rates <<<"$LRS" || rates=("${LR:-}")
[[ ${#estimators[@]} == 1 || ${#rates[@]} -gt 1 ]] ||
    echo "compare.sh: one learning rate for ${#estimators[@]} estimators, whose best rates may differ: set LRS" >&2
runs=()
for SEED in ${SEEDS:-0 1 2}; do
    for ESTIMATOR in "${estimators[@]}"; do
        for LR in "${rates[@]}"; do
            for K in "${ks[@]}"; do
                export SEED ESTIMATOR LR K
                settings=$(bash "$script" --settings "$@")
                run=$(setting RUN)
                [[ " ${runs[*]} " != *" $run "* ]] || continue # an estimator without K runs once
                runs+=("$run")
                steps=$(setting STEPS)
                [[ $(cat "$run/finished" 2>/dev/null) == "$steps" || -f $run/validation/$steps.jsonl ]] && continue
                bash "$script" "$@"
                echo "$steps" >"$run/finished"
            done
        done
    done
done
python -m verl_maxpo evaluate "${runs[@]}" --out "$(setting OUT)/report"
