#!/usr/bin/env bash
# What waits for a GPU, the most telling part first. Each part has a time limit in minutes, and the same command goes on
# with what is not finished: results are lines in results/, models and checkpoints are in OUT.
#   examples/reproduction/on_gpu.sh                     # estimator 1, maze 7, gsm8k 6 minutes
#   PARTS="maze" MAZE_MINUTES=30 PROCESSES=8 examples/reproduction/on_gpu.sh
#   TINY=1 examples/reproduction/on_gpu.sh              # the rehearsal: everything in small, on a CPU
# It takes torch, transformers, pandas and scipy, no verl; the part gsm8k also math-verify with latex2sympy2-extended and
# antlr4-python3-runtime. GSM8K's train.jsonl and test.jsonl have to be in outputs/data/gsm8k and SmolLM2, which
# ../smollm2/get_model.py gets, in outputs/smollm2/model: nothing is downloaded.
set -euo pipefail
cd "$(dirname "$0")/../.."

PARTS=${PARTS:-estimator maze gsm8k} # recipe, too, where verl and vLLM are installed
OUT=${OUT:-outputs/reproduction}
PROCESSES=${PROCESSES:-6} # runs side by side on the one GPU
ESTIMATOR_MINUTES=${ESTIMATOR_MINUTES:-1}
MAZE_MINUTES=${MAZE_MINUTES:-7}
GSM8K_MINUTES=${GSM8K_MINUTES:-6}
RECIPE_MINUTES=${RECIPE_MINUTES:-10}
PYTHON=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
mkdir -p "$OUT"

sweep() { # STUDY MINUTES: runs until the time is up; what runs then goes on from its last evaluation the next time
    "$PYTHON" examples/reproduction/sweep.py "$1" ${TINY:+--rehearse} --processes "$PROCESSES" --out "$OUT" \
        --hours "$("$PYTHON" -c "print($2 / 60)")"
}

estimator() { # its time beside that of a whole step; beside verl's own where verl is installed
    timeout "${ESTIMATOR_MINUTES}m" "$PYTHON" examples/reproduction/estimator_share.py "$OUT" |
        tee "$OUT/estimator_share.jsonl"
    if "$PYTHON" -c 'import verl' 2>/dev/null; then
        timeout "${ESTIMATOR_MINUTES}m" "$PYTHON" tests/benchmarks/estimators.py --device "$DEVICE" \
            --json "$OUT/estimators.json"
    fi
}
maze() { sweep maze_17 "$MAZE_MINUTES"; }
gsm8k() { sweep smollm2_gsm8k "$GSM8K_MINUTES"; }
recipe() { timeout "${RECIPE_MINUTES}m" examples/gsm8k/run_qwen2_5_0_5b_fsdp2.sh; }

DEVICE=$("$PYTHON" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
[ "$DEVICE" = cuda ] || [ -n "${TINY:-}" ] || { echo "there is no GPU; TINY=1 rehearses on a CPU" >&2; exit 1; }
for part in $PARTS; do
    echo "== $part, from $(date -u +%H:%M:%S)"
    began=$SECONDS
    "$part" || echo "== $part ended with $?" >&2 # the next part is worth its time all the same
    echo "== $part took $((SECONDS - began)) s"
done
