#!/usr/bin/env bash
# Run the quickstart for several estimators, K and seeds (about ten minutes each on two cores) and show the mean and
# standard deviation over seeds; see examples/compare.sh.
#   ESTIMATORS="maxpo grpo" KS="1 2 4" SEEDS="0 1 2 3" examples/quickstart/compare.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

export DATA=${DATA:-outputs/comparison}
exec examples/compare.sh examples/quickstart/quickstart.sh "$@"
