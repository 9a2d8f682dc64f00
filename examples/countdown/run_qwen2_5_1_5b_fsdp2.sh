#!/usr/bin/env bash
# Countdown with Qwen2.5-1.5B-Instruct on one GPU, without a download of data | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/countdown/run_qwen2_5_1_5b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
MODEL=${MODEL:-Qwen/Qwen2.5-1.5B-Instruct}
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# Three or four numbers up to 50 and a target up to 100, instead of four to six numbers and a target up to 999
prepare countdown reasoning_gym:countdown \
    --task-config min_numbers=3 max_numbers=4 max_value=50 min_target=10 max_target=100
ready

# Nothing differs from what all recipes share
exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name recipe \
    'hydra.searchpath=[pkg://verl.trainer.config]' "${SETTINGS[@]}" "$@"
