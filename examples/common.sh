# shellcheck shell=bash
# What the run scripts share. A script sets what is its own, sources this file, prepares its data and ends in
# `train "$@"`. With --settings as its first argument it only prints its settings and RUN, the folder of the run.

# ---- settings of every run script, each of which the environment may override; see README.md ----
RECIPE=$(basename "$(dirname "$(realpath "${BASH_SOURCE[1]}")")")
ESTIMATOR=${ESTIMATOR:-maxpo}
K=${K_SCHEDULE:-${K:-8}}
N=${N:-16}
LR=${LR:-1e-6}
SEED=${SEED:-0}
STEPS=${STEPS:-200}
GPUS=${GPUS:-1}
[ ! -d "$MODEL" ] || MODEL=$(realpath "$MODEL") # else a name of the hub
OUT=$(realpath -m "${OUT:-outputs/$RECIPE/$(basename "$MODEL")}")
DATA=$(realpath -m "${DATA:-outputs/data}")
PREPARE=${PREPARE:-true}
CHECK=${CHECK:-true}
TAG=${TAG:-}
# --------------------------------------------------------------------------------------------------

# MaxRL is MaxPO for all K.
[ "$ESTIMATOR" != maxrl ] || ESTIMATOR=maxpo K=all
case "$ESTIMATOR" in
    maxpo) ADVANTAGE=(algorithm.adv_estimator=maxpo) ;;
    loo_minus_one | loo | none | group_mean)
        ADVANTAGE=(algorithm.adv_estimator=maxpo algorithm.maxpo.baseline="$ESTIMATOR") ;;
    grpo | rloo | grpo_passk) ADVANTAGE=(algorithm.adv_estimator="$ESTIMATOR") K='' ;;
    *)
        echo "ESTIMATOR must be maxpo, maxrl, one of MaxPO's other baselines (loo_minus_one, loo, none, group_mean) or" \
            "grpo, rloo, grpo_passk of verl; got $ESTIMATOR" >&2
        exit 2 ;;
esac
[ -z "$K" ] || ADVANTAGE+=(algorithm.maxpo.k="$K")

# The name of a run holds what the runs of one recipe are compared by. evaluate averages those that differ by the seed.
NAME=$ESTIMATOR${K:+-k$K}-n$N-lr$LR${TAG:+-$TAG}
RUN=$OUT/$(sed -E 's/[^[:alnum:].-]+/_/g; s/_(-|$)/\1/g; s/-k_/-k/' <<<"$NAME")-seed$SEED # [1,8] becomes 1_8

# What may not change while a run goes on, beside overrides; OWN_SETTINGS are names that a script adds.
FIXED=(MODEL ESTIMATOR K N LR SEED GPUS "${OWN_SETTINGS[@]}")

what_is_trained() { # the settings and overrides that make a run another run
    local name override
    for name in "${FIXED[@]}"; do echo "$name=${!name}"; done
    for override in "${OVERRIDES[@]}"; do
        case "${override//+/}" in
            trainer.* | ray_kwargs.* | data.val_* | actor_rollout_ref.rollout.val_kwargs.*) ;;
            *) echo "$override" ;;
        esac
    done
}

refuse_other_settings() { # nothing shows, or goes on with, a run of other settings
    local changed
    [ -f "$RUN/settings" ] || return 0
    changed=$(diff "$RUN/settings" <(what_is_trained) | grep '^[<>]') || true
    [ -n "$changed" ] || return 0
    cat >&2 <<END
$RUN is a run with other settings (<) than these (>):
$changed
For a run beside it, set TAG or OUT to another name. To go on with it all the same, remove $RUN/settings.
END
    exit 2
}

print_settings() {
    local name
    for name in "${FIXED[@]}" STEPS OUT DATA PREPARE CHECK TAG RUN; do echo "$name=${!name}"; done | sort -u
}

OVERRIDES=("$@")
[ "${1:-}" != --settings ] || OVERRIDES=("${@:2}")
refuse_other_settings
if [ "${1:-}" = --settings ]; then
    print_settings
    exit
fi

on_cpu() { # on_cpu THREADS: what the processes of verl, Ray and vLLM need on a machine without an accelerator
    export VERL_PLATFORM=cpu OMP_NUM_THREADS=$1 TQ_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
    export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_NO_USAGE_STATS=1 RAY_USAGE_STATS_ENABLED=0
}

prepare() { # prepare NAME SOURCE [option...]: a data set in $DATA/NAME, if it is not there, to train and evaluate on
    [ "$PREPARE" != true ] || python -m verl_maxpo prepare "$2" --out "$DATA/$1" "${@:3}" ||
        { echo "no data as this script needs them, see above; train on what is there with PREPARE=false" >&2; exit 1; }
    TRAIN_FILE=$DATA/$1/train.parquet
    TEST_FILES=("$DATA/$1/test.parquet")
}

prepare_apart() { # prepare_apart TRAIN TEST...: data sets to evaluate on, and one to train on without their problems
    local name files=()
    for name in "${@:2}"; do
        prepare "$name" "$name"
        files+=("${TEST_FILES[@]}")
    done
    prepare "$1" "$1" --against "${files[@]}"
    TEST_FILES=("${files[@]}")
}

check_rewards() { # every gold answer is right and a wrong one is wrong, or no training
    [ "$CHECK" = true ] || return 0
    python -m verl_maxpo check "$TRAIN_FILE" "${TEST_FILES[@]}" ||
        { echo "rows with problems, see above: fix them, or train regardless with CHECK=false" >&2; exit 1; }
}

train() { # train [override...]: verl's trainer, which goes on from the last checkpoint of the run, if there is one
    local last files environment DATA_ARGS MODEL_ARGS ROLLOUT_ARGS TRAINER_ARGS
    check_rewards
    mkdir -p "$RUN"
    what_is_trained >"$RUN/settings"

    files=$(IFS=, && echo "${TEST_FILES[*]}")
    environment=+ray_kwargs.ray_init.runtime_env.env_vars # of every worker, also where Ray runs already
    DATA_ARGS=(data.train_files="$TRAIN_FILE" data.val_files="[$files]" data.seed="$SEED")
    MODEL_ARGS=(actor_rollout_ref.model.path="$MODEL" actor_rollout_ref.actor.optim.lr="$LR")
    ROLLOUT_ARGS=(actor_rollout_ref.rollout.n="$N" actor_rollout_ref.rollout.seed="$SEED")
    TRAINER_ARGS=(
        trainer.n_gpus_per_node="$GPUS"
        trainer.total_training_steps="$STEPS"
        trainer.experiment_name="$(basename "$RUN")"
        trainer.validation_data_dir="$RUN/validation"
        trainer.default_local_dir="$RUN/checkpoints"
        "$environment.TENSORBOARD_DIR=$RUN/tensorboard"
        # One file for each start: verl would empty that of the start before
        "$environment.VERL_FILE_LOGGER_PATH=$RUN/metrics-$(date +%Y%m%d-%H%M%S).jsonl"
        hydra.run.dir="$RUN/hydra"
    )
    # The validation at the checkpoint is not repeated.
    last=$(cat "$RUN/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null) || true
    [[ ! -f $RUN/validation/$last.jsonl || "$*" == *val_only=* ]] || TRAINER_ARGS+=(trainer.val_before_train=false)

    exec ${TIME_LIMIT:+timeout "$TIME_LIMIT"} python -m verl.trainer.main_ppo \
        --config-path pkg://verl_maxpo.config --config-name "${CONFIG:-$RECIPE}" \
        "${DATA_ARGS[@]}" "${MODEL_ARGS[@]}" "${ROLLOUT_ARGS[@]}" "${ADVANTAGE[@]}" "${TRAINER_ARGS[@]}" "$@"
}
