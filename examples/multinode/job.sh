#!/usr/bin/env bash
# What submit.sh has the cluster run: look at every node, then train.
set -euo pipefail

python -m verl_maxpo doctor --nodes "$NNODES" --gpus "$GPUS" --wait "$WAIT"
exec bash "$1" trainer.nnodes="$NNODES" trainer.n_gpus_per_node="$GPUS" "${@:2}"
