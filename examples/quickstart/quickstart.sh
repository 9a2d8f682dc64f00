#!/usr/bin/env bash
# The whole quickstart: write the data, train, show pass@k before and after. What exists already is reused.
#   ESTIMATOR=grpo SEED=1 examples/quickstart/quickstart.sh    # settings: see run_tiny_fsdp2_cpu.sh
#   TASK=countdown examples/quickstart/quickstart.sh           # the other task of countdown.py
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
script=$here/run_tiny_fsdp2_cpu.sh

[ "${1:-}" != --settings ] || exec "$script" "$@"
settings=$("$script" --settings "$@")
setting() { sed -n "s/^$1=//p" <<<"$settings"; }
RUN=$(setting RUN) DATA=$(setting DATA) OUT=$(setting OUT) STEPS=$(setting STEPS) TASK=$(setting TASK)
log=$RUN/train.log

progress() { # "step 12, mean reward 0.14" from verl's metrics file
    tail -qn 1 "$RUN"/metrics-*.jsonl 2>/dev/null |
        sed -nE 's/^\{"step":([0-9]+),.*"critic\/score\/mean":([0-9.]{1,5}).*/  step \1, mean reward of the batch \2/p'
}

echo "1/3  Data and starting model"
python "$here/prepare.py" --task "$TASK" --out "$DATA"

echo "2/3  Training $(basename "$RUN") in verl: FSDP2 actor and vLLM rollout on CPU"
if [ -f "$RUN/finished" ]; then
    echo "  kept from an earlier run; to train again: rm -r $RUN"
else
    rm -rf "$RUN"
    mkdir -p "$RUN"
    echo "  log: $log; the first step comes after about two minutes (Ray, FSDP2, vLLM, a validation)"
    "$script" "$@" >"$log" 2>&1 &
    training=$!
    trap 'kill $training 2>/dev/null || true' EXIT
    running=true
    while $running; do
        kill -0 $training 2>/dev/null && sleep 5 || running=false
        line=$(progress || true)
        [ "$line" = "${shown:-}" ] || echo "$line"
        shown=$line
    done
    if ! wait $training; then
        grep -vE 'WARNING|INFO|UserWarning' "$log" | tail -n 30 >&2
        echo "training failed; the end of $log is above. \`verl-maxpo doctor\` looks for causes" >&2
        exit 1
    fi
    echo "$STEPS" >"$RUN/finished"
fi

echo "3/3  Result"
mapfile -t runs < <(find "$OUT" -mindepth 2 -maxdepth 2 -name finished -printf '%h\n' | sort)
before=$(python "$here/measured.py" --beside "$RUN")
[ -z "$before" ] || mapfile -t -O ${#runs[@]} runs <<<"$before"
python -m verl_maxpo evaluate "${runs[@]}" --brief --out "$OUT/report"
[ -z "$before" ] || echo "measured-before: GRPO with the same settings at its own best rate (examples/quickstart/results.jsonl)"
echo "Picture: $OUT/report/report.png"
echo "Next: ESTIMATOR=grpo make quickstart, GRPO's run on this machine; or K=1, K=4, ..."
