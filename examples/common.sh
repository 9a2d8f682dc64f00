# shellcheck shell=bash
# What the run scripts share. A script sets what is its own, sources this file, prepares its data, calls `ready` and
# starts verl with "${SETTINGS[@]}". With --settings first, it only prints its settings and RUN, the folder of the run.

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
NAME=$(sed -E 's/[^[:alnum:].-]+/_/g; s/_(-|$)/\1/g; s/-k_/-k/' <<<"$NAME")-seed$SEED # [1,8] becomes 1_8
RUN=$OUT/$NAME

# What makes a run another run: these settings, those that a script adds, and overrides but of what is shown and kept.
FIXED=(MODEL ESTIMATOR K N LR SEED GPUS "${OWN_SETTINGS[@]}")
SHOWN='^$|^\+*(trainer|ray_kwargs|data\.val_|actor_rollout_ref\.rollout\.val_kwargs)'
OVERRIDES=("$@")
[ "${1:-}" != --settings ] || OVERRIDES=("${@:2}")

values_of() { # values_of NAME...: NAME=value, a line each
    local name
    for name in "$@"; do echo "$name=${!name}"; done
}

what_is_trained() {
    values_of "${FIXED[@]}"
    printf '%s\n' "${OVERRIDES[@]}" | grep -vE "$SHOWN" || true
}

changed=$(diff "$RUN/settings" <(what_is_trained) 2>/dev/null | grep '^[<>]') || true
if [ -n "$changed" ]; then # nothing shows, or goes on with, a run of other settings
    cat >&2 <<END
$RUN is a run with other settings (<) than these (>):
$changed
For a run beside it, set TAG or OUT to another name. To go on with it all the same, remove $RUN/settings.
END
    exit 2
fi
if [ "${1:-}" = --settings ]; then
    values_of "${FIXED[@]}" STEPS OUT DATA PREPARE CHECK TAG RUN | sort -u
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

ready() { # SETTINGS for verl, once every gold answer is right and a wrong one is wrong, with CHECK_OPTIONS of a script
    local last environment=+ray_kwargs.ray_init.runtime_env.env_vars # of every worker, also where Ray runs already
    [ "$CHECK" != true ] || python -m verl_maxpo check "$TRAIN_FILE" "${TEST_FILES[@]}" "${CHECK_OPTIONS[@]}" ||
        { echo "rows with problems, see above: fix them, or train regardless with CHECK=false" >&2; exit 1; }
    mkdir -p "$RUN"
    what_is_trained >"$RUN/settings"
    SETTINGS=(
        data.train_files="$TRAIN_FILE"
        data.val_files="[$(IFS=, && echo "${TEST_FILES[*]}")]"
        actor_rollout_ref.model.path="$MODEL"
        actor_rollout_ref.actor.optim.lr="$LR"
        actor_rollout_ref.rollout.n="$N"
        "${ADVANTAGE[@]}"
        trainer.n_gpus_per_node="$GPUS"
        trainer.total_training_steps="$STEPS"
        run.name="$NAME"
        run.folder="$RUN"
        run.seed="$SEED"
        "$environment.TENSORBOARD_DIR=$RUN/tensorboard"
        # One file for each start: verl would empty that of the start before
        "$environment.VERL_FILE_LOGGER_PATH=$RUN/metrics-$(date +%Y%m%d-%H%M%S).jsonl"
    )
    # A run goes on from its last checkpoint; the validation there is not repeated.
    last=$(cat "$RUN/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null) || true
    [[ ! -f $RUN/validation/$last.jsonl || "${OVERRIDES[*]}" == *val_only=* ]] ||
        SETTINGS+=(trainer.val_before_train=false)
}
