#!/usr/bin/env bash
# Run one of the run scripts on a Ray cluster, show its log and wait for it. Started again, it goes on from the last
# checkpoint. Run it on the head node, in a copy of this repository that all nodes see at the same path.
#   NNODES=2 GPUS=8 ESTIMATOR=grpo examples/multinode/submit.sh examples/gsm8k/run_qwen2_5_0_5b_fsdp2.sh [override...]
set -euo pipefail

# ---- settings, each of which the environment may override; those of the run script are passed on ----
export NNODES=${NNODES:-2}
export GPUS=${GPUS:-8}                             # of each node
export WAIT=${WAIT:-60}                            # seconds to wait for so many nodes with so many free GPUs
RAY_ADDRESS=${RAY_ADDRESS:-http://127.0.0.1:8265}  # the cluster's dashboard
# ------------------------------------------------------------------------------------------------------

script=${1:?usage: submit.sh RUN_SCRIPT [any override of verl\'s configuration]}
[ -f "$script" ] || { echo "no such run script: $script" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
settings=$(bash "$script" --settings "${@:2}")
mapfile -t settings <<<"$settings"

if ! ray job list --address "$RAY_ADDRESS" >/dev/null 2>&1; then
    echo "no Ray cluster answers at RAY_ADDRESS=$RAY_ADDRESS, which must be the address of its dashboard, such as" \
        "http://127.0.0.1:8265 on the head node: start one with examples/multinode/ray_node.sh" >&2
    exit 1
fi
if ! ray job submit --address "$RAY_ADDRESS" -- env --chdir="$PWD" NNODES="$NNODES" WAIT="$WAIT" "${settings[@]}" \
    bash "$here/job.sh" "$(realpath "$script")" "${@:2}"; then
    echo "the job did not finish: see above. The same command goes on from the last checkpoint, if there is one" >&2
    exit 1
fi
