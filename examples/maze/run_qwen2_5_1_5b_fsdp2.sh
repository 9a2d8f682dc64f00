#!/usr/bin/env bash
# Shortest paths with Qwen2.5-1.5B-Instruct on one GPU, without a download of data | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/maze/run_qwen2_5_1_5b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# Of the task's own grids 38% have no path, and "infeasible" is an answer that pays without a search; of these 5%
prepare maze reasoning_gym:shortest_path --task-config p_blocked=0.2
ready

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name maze \
    "${SETTINGS[@]}" "$@"
