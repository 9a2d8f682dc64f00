#!/usr/bin/env bash
# GSM8K with Qwen2.5-0.5B-Instruct on one GPU | vLLM | FSDP2
#   ESTIMATOR=grpo SEED=1 examples/gsm8k/run_qwen2_5_0_5b_fsdp2.sh [any override of verl's configuration]
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
MODEL=${MODEL:-Qwen/Qwen2.5-0.5B-Instruct}
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

prepare gsm8k gsm8k
ready

exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name gsm8k \
    "${SETTINGS[@]}" "$@"
