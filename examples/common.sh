# shellcheck shell=bash
# What the run scripts share. They source it after their settings (MODEL, ESTIMATOR, K, N, SEED, STEPS, GPUS, OUT, DATA)
# and get the folder RUN, the overrides COMMON, and the functions prepare and check_rewards.

case "$ESTIMATOR" in
    maxpo) ADVANTAGE=(algorithm.adv_estimator=maxpo) ;;
    loo_minus_one | loo | none | group_mean)
        ADVANTAGE=(algorithm.adv_estimator=maxpo algorithm.maxpo.baseline="$ESTIMATOR") ;;
    grpo | rloo | grpo_passk) ADVANTAGE=(algorithm.adv_estimator="$ESTIMATOR") ;;
    *)
        echo "ESTIMATOR must be maxpo, one of its other baselines (loo_minus_one, loo, none, group_mean) or" \
            "grpo, rloo, grpo_passk of verl; got $ESTIMATOR" >&2
        exit 2 ;;
esac

RUN=$OUT/$ESTIMATOR-seed$SEED
mkdir -p "$RUN" "$DATA"
RUN=$(cd "$RUN" && pwd)
DATA=$(cd "$DATA" && pwd)

# One metrics file for each start: verl would empty that of the start before, when a run goes on.
started=$(date +%Y%m%d-%H%M%S)
environment=ray_kwargs.ray_init.runtime_env.env_vars # of every worker, also where Ray runs already

# shellcheck disable=SC2034
COMMON=(
    "${ADVANTAGE[@]}"
    algorithm.maxpo.k="$K"
    actor_rollout_ref.model.path="$MODEL"
    actor_rollout_ref.rollout.n="$N"
    actor_rollout_ref.rollout.seed="$SEED"
    data.seed="$SEED"
    trainer.n_gpus_per_node="$GPUS"
    trainer.total_training_steps="$STEPS"
    trainer.experiment_name="$(basename "$RUN")"
    trainer.validation_data_dir="$RUN/validation"
    trainer.default_local_dir="$RUN/checkpoints"
    "+$environment.TENSORBOARD_DIR=$RUN/tensorboard"
    "+$environment.VERL_FILE_LOGGER_PATH=$RUN/metrics-$started.jsonl"
    hydra.run.dir="$RUN/hydra"
)

prepare() { # prepare FOLDER NAME [option...]: a data set in $DATA/FOLDER, unless there is one
    [ -f "$DATA/$1/manifest.json" ] || python -m verl_maxpo prepare "$2" --out "$DATA/$1" "${@:3}"
}

check_rewards() { # check_rewards FILE...: every gold answer is right and a wrong one is wrong, or no training
    [ "${CHECK:-true}" = true ] || return 0
    python -m verl_maxpo check "$@" ||
        { echo "rows with problems, see above: mend them, or train regardless with CHECK=false" >&2; exit 1; }
}
