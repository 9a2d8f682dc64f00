"""The recipes of examples/: scripts and configurations here, real runs of two steps in the slow tests."""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from support import random_reward, recipes

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
    assert RECIPES == ["async", "countdown", "dapo_math", "gsm8k", "lora", "math", "maze"]
    for name, script in recipes.SCRIPTS.items():
        assert os.access(script, os.X_OK)
        assert (script.parent / "README.md").exists(), name
        assert (CONFIG / f"{name}.yaml").exists(), name


@pytest.mark.parametrize("script", SHELL, ids=lambda script: str(script.relative_to(recipes.EXAMPLES)))
def test_shell(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    shellcheck = Path(sys.executable).with_name("shellcheck")  # a Python package, too
    result = subprocess.run([shellcheck, "--external-sources", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a ``python`` that only writes down its arguments."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "python").write_text(
        '#!/usr/bin/env bash\nprintf "%q " "$@" >>"$CALLS"; echo >>"$CALLS"\nexit ${FAIL:-0}\n'
    )
    (folder / "python").chmod(0o755)
    return folder


def calls_of(recorder: Path, *command: str | Path, folder: Path, **settings: str) -> list[list[str]]:
    """Run a script and return the Python commands that it gave."""
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    environment = {**os.environ, "PATH": f"{recorder}:{os.environ['PATH']}", "CALLS": str(calls)}
    subprocess.run(command, env={**environment, **settings}, cwd=folder, check=True, capture_output=True)
    return [shlex.split(line) for line in calls.read_text().splitlines()]


def compose(command: list[str]) -> Any:
    """Compose the configuration that a command line describes."""
    assert command[:4] == ["-m", "verl.trainer.main_ppo", "--config-path", "pkg://verl_maxpo.config"]
    assert command[4] == "--config-name"
    with initialize_config_module("verl_maxpo.config", version_base=None):
        return hydra_compose(command[5], overrides=overrides_of(command))


def overrides_of(command: list[str]) -> list[str]:
    return [override for override in command[6:] if not override.startswith(("hydra.run.dir=", "+ray_kwargs."))]


def validate(config: Any) -> None:
    """Let verl check a configuration as its main function does."""
    from verl.trainer.ppo import utils
    from verl.utils.config import validate_config

    validate_config(config, utils.need_reference_policy(config), utils.need_critic(config))


@pytest.fixture
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out verl's check of the LoRA rank, for which it imports vLLM; the slow tests include it."""
    utils = types.SimpleNamespace(get_vllm_max_lora_rank=lambda rank: rank)
    monkeypatch.setitem(sys.modules, "verl.workers.rollout.vllm_rollout.utils", utils)


@pytest.mark.usefixtures("no_vllm")
@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str, recorder: Path, tmp_path: Path) -> None:
    *before, command = calls_of(recorder, recipes.SCRIPTS[name], folder=tmp_path)
    config = compose(command)
    check_choices(config)
    val_files = config.data.val_files if OmegaConf.is_list(config.data.val_files) else [config.data.val_files]
    assert before[-1] == ["-m", "verl_maxpo", "check", config.data.train_files, *val_files]
    prepared = {call[call.index("--out") + 1] for call in before[:-1]}
    assert {str(Path(file).parent) for file in before[-1][3:]} == prepared
    validate(config)
    for estimator in ESTIMATORS:
        *_, changed = calls_of(recorder, recipes.SCRIPTS[name], folder=tmp_path, ESTIMATOR=estimator)
        check_estimator(config, estimator, [override for override in overrides_of(changed) if override not in command])


def check_choices(config: Any) -> None:
    """Check what holds for every recipe."""
    assert config.algorithm.maxpo.k < config.actor_rollout_ref.rollout.n
    assert not config.algorithm.use_kl_in_reward
    assert config.reward.reward_manager.name == "verifier"
    assert VerifierConfig.of(config.reward.reward_kwargs).max_resp_len == config.data.max_response_length
    sampling, validation = config.actor_rollout_ref.rollout, config.actor_rollout_ref.rollout.val_kwargs
    assert (sampling.temperature, sampling.top_p) == (validation.temperature, validation.top_p) == (1, 1)
    assert validation.do_sample
    assert config.trainer.resume_mode == "auto"


def check_estimator(config: Any, estimator: str, changes: list[str]) -> None:
    """Let verl check a composed configuration with what another ESTIMATOR changes."""
    changed = OmegaConf.from_dotlist(changes)
    algorithm = OmegaConf.merge(config.algorithm, changed.get("algorithm", {}))  # an unknown option raises
    assert changed.keys() <= {"algorithm", "trainer"}
    ours = estimator in ["maxpo", *BASELINES]
    assert algorithm.adv_estimator == ("maxpo" if ours else estimator)
    assert algorithm.maxpo.baseline == (estimator if estimator in BASELINES else "l2o")
    with_estimator = copy.copy(config)
    with_estimator.algorithm = algorithm
    validate(with_estimator)
    if estimator != "maxpo":
        assert changed.trainer.experiment_name == f"{estimator}-seed0"
        assert changed.trainer.default_local_dir.endswith(f"/{estimator}-seed0/checkpoints")


def test_settings_reach_verl(recorder: Path, tmp_path: Path) -> None:
    settings = {"MODEL": "some/model", "K": "3", "N": "6", "STEPS": "7", "GPUS": "2", "OUT": str(tmp_path / "here")}
    *_, command = calls_of(
        recorder, recipes.SCRIPTS["gsm8k"], "trainer.nnodes=2", folder=tmp_path, SEED="3", **settings
    )
    config = compose(command)
    assert config.actor_rollout_ref.model.path == "some/model"
    assert (config.algorithm.maxpo.k, config.actor_rollout_ref.rollout.n) == (3, 6)
    assert config.trainer.total_training_steps == 7
    assert config.data.seed == config.actor_rollout_ref.rollout.seed == 3
    assert (config.trainer.n_gpus_per_node, config.trainer.nnodes) == (2, 2)
    assert config.trainer.validation_data_dir == str(tmp_path / "here" / "maxpo-seed3" / "validation")


def test_separate_async_meets_verls_conditions(recorder: Path, tmp_path: Path) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["async"], folder=tmp_path, MODE="separate_async", ROLLOUT_GPUS="4")
    config = compose(command)
    validate(config)
    rollout = config.actor_rollout_ref.rollout
    updates = config.trainer.v1.separate_async.parameter_sync_step
    assert config.data.train_batch_size == updates * config.actor_rollout_ref.actor.ppo_mini_batch_size
    assert (rollout.nnodes, rollout.n_gpus_per_node, rollout.checkpoint_engine.backend) == (1, 4, "nccl")


def test_overlong_punishment_is_a_setting(recorder: Path, tmp_path: Path) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["dapo_math"], folder=tmp_path, OVERLONG="true")
    config = compose(command)
    buffer = VerifierConfig.of(config.reward.reward_kwargs).overlong_buffer_cfg
    assert buffer.enable
    assert 0 < buffer.len < config.data.max_response_length


def test_a_misspelt_option_is_an_error(recorder: Path, tmp_path: Path) -> None:
    *_, command = calls_of(recorder, recipes.SCRIPTS["gsm8k"], "algorithm.maxpo.kk=4", folder=tmp_path)
    with pytest.raises(ConfigCompositionException, match="kk"):
        compose(command)


def test_unknown_estimator_stops_with_the_choice(tmp_path: Path) -> None:
    environment = {**os.environ, "ESTIMATOR": "maxp0"}
    result = subprocess.run([recipes.SCRIPTS["gsm8k"]], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "ESTIMATOR must be maxpo, one of its other baselines" in result.stderr
    assert not list(tmp_path.iterdir())


def test_rows_with_problems_stop_the_script(recorder: Path, tmp_path: Path) -> None:
    (tmp_path / "outputs" / "data" / "gsm8k").mkdir(parents=True)
    (tmp_path / "outputs" / "data" / "gsm8k" / "manifest.json").touch()
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        calls_of(recorder, recipes.SCRIPTS["gsm8k"], folder=tmp_path, FAIL="1")
    assert b"or train regardless with CHECK=false" in stopped.value.stderr
    with pytest.raises(subprocess.CalledProcessError):
        calls_of(recorder, recipes.SCRIPTS["gsm8k"], folder=tmp_path, FAIL="1", CHECK="false")
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert "verl.trainer.main_ppo" in call


def test_compare_runs_what_is_not_finished_and_reports_on_all(recorder: Path, tmp_path: Path) -> None:
    settings = {"ESTIMATORS": "maxpo rloo", "SEEDS": "0 1"}
    compare = [recipes.EXAMPLES / "compare.sh", recipes.SCRIPTS["gsm8k"], "trainer.nnodes=2"]
    runs = [f"outputs/gsm8k/{name}" for name in ["maxpo-seed0", "rloo-seed0", "maxpo-seed1", "rloo-seed1"]]
    (tmp_path / runs[1]).mkdir(parents=True)
    (tmp_path / runs[1] / "finished").touch()
    *_, report = calls = calls_of(recorder, *compare, folder=tmp_path, **settings)
    trained = [call for call in calls if call[1] == "verl.trainer.main_ppo"]
    names = [f"trainer.experiment_name={Path(run).name}" for run in [runs[0], *runs[2:]]]
    assert [name in call for name, call in zip(names, trained, strict=True)] == [True] * 3
    assert all(call[-1] == "trainer.nnodes=2" for call in trained)
    assert report == ["-m", "verl_maxpo", "evaluate", *runs, "--out", "outputs/gsm8k/report"]
    again = calls_of(recorder, *compare, folder=tmp_path, **settings)
    assert again == [report]


def test_the_quickstart_is_compared_by_the_same_script(recorder: Path, tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"grpo-seed{seed}").mkdir()
        (tmp_path / f"grpo-seed{seed}" / "finished").touch()
    settings = {"ESTIMATORS": "grpo", "DATA": str(tmp_path)}
    (report,) = calls_of(recorder, recipes.EXAMPLES / "quickstart" / "compare.sh", folder=tmp_path, **settings)
    runs = [f"{tmp_path}/grpo-seed{seed}" for seed in range(3)]
    assert report == ["-m", "verl_maxpo", "evaluate", *runs, "--out", f"{tmp_path}/report"]


def test_compare_stops_at_a_run_that_fails(recorder: Path, tmp_path: Path) -> None:
    compare = [recipes.EXAMPLES / "compare.sh", recipes.SCRIPTS["gsm8k"]]
    with pytest.raises(subprocess.CalledProcessError):
        calls_of(recorder, *compare, folder=tmp_path, FAIL="1")
    assert not list(tmp_path.rglob("finished"))


RANDOM_REWARD = Path(random_reward.__file__)
RANDOM = f"{{verifier:python_function,path:{RANDOM_REWARD},name:compute_score,score_range:[0,10]}}"
#: Rewards that differ, and a learning rate at which weights that vLLM did not get would show.
LEARN = ["actor_rollout_ref.actor.optim.lr=1e-2"]
ON_GSM8K = [f"+reward.reward_kwargs.routes={{openai/gsm8k:{RANDOM}}}", *LEARN]
#: What the CPU platform needs beside a small size, by run: a recipe, and settings of its script.
RUNS: dict[str, tuple[list[str], dict[str, str]]] = {
    "gsm8k": ([], {}),
    "math": ([], {}),
    # Without a group of mixed answers dynamic sampling would never end.
    "dapo_math": ([f"+reward.reward_kwargs.routes={{math_dapo:{RANDOM}}}", *LEARN], {}),
    "countdown": ([], {}),
    "maze": ([], {}),
    # vLLM's CPU layers take no adapters from verl.
    "lora": ([*ON_GSM8K, "actor_rollout_ref.model.lora.merge=true"], {}),
    "async": (ON_GSM8K, {}),
    "async-separate": (
        [
            *ON_GSM8K,
            "actor_rollout_ref.rollout.checkpoint_engine.backend=gloo",
            "ray_kwargs.ray_init.num_gpus=2",
            "trainer.v1.separate_async.parameter_sync_step=2",
            "actor_rollout_ref.actor.ppo_mini_batch_size=2",
        ],
        {"MODE": "separate_async", "ROLLOUT_GPUS": "1"},
    ),
}
SOURCES = {
    "math": {"HuggingFaceH4/MATH-500", "aime24", "aime25", "amc23"},
    "dapo_math": {"aime24", "aime25", "amc23"},
    "countdown": {"reasoning_gym/countdown"},
    "maze": {"reasoning_gym/shortest_path"},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model and the bundled data, prepared."""
    folder = tmp_path_factory.mktemp("prepared")
    recipes.make_model(folder / "model")
    recipes.prepare_samples(folder / "data")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("run", RUNS)
def test_two_steps_on_the_cpu(run: str, prepared: Path, tmp_path: Path) -> None:
    overrides, settings = RUNS[run]
    paths = {"MODEL": str(prepared / "model"), "DATA": str(prepared / "data"), "OUT": str(tmp_path)}
    environment = {**recipes.CPU_ENVIRONMENT, **recipes.SETTINGS, **paths, **settings}
    script = recipes.SCRIPTS[run.split("-")[0]]
    result = recipes.run_script(
        recipes.EXAMPLES / "compare.sh",
        *[str(script), *recipes.CPU_OVERRIDES, *overrides],
        **{**environment, "ESTIMATORS": "maxpo", "SEEDS": "0"},
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    assert "0 problem(s)" in result.stdout
    (file,) = (tmp_path / "maxpo-seed0").glob("metrics-*.jsonl")
    metrics = {row["step"]: row["data"] for row in map(json.loads, file.read_text().splitlines())}
    assert list(metrics) == [1, 2]
    learns = overrides != []
    for step in metrics.values():
        assert step["best_of_k/groups/undersized"] == 0
        signal = step["best_of_k/groups/signal"] > 0  # an untrained model may hit a right answer
        assert signal or not learns
        assert (step["actor/grad_norm"] > 0) == signal
    if "async" not in run:
        assert metrics[2]["training/rollout_probs_diff_max"] < 1e-4
    samples = pd.read_json(tmp_path / "maxpo-seed0" / "validation" / "2.jsonl", lines=True)
    assert set(samples["data_source"]) == SOURCES.get(run, {"openai/gsm8k"})
    report = (tmp_path / "report" / "report.md").read_text()
    assert all(source in report for source in set(samples["data_source"]))
