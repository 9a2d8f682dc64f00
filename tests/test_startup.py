"""What is an error before any model is loaded: rewards, data and resources of verl's configuration."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig, OmegaConf, open_dict
from support import toy_reward
from support.processes import run_module
from support.verl_runs import composed

from verl_maxpo import startup
from verl_maxpo.rewards.adapters.run_check import check_rewards

GSM8K, MATH = {"ground_truth": "72"}, {"ground_truth": r"\frac{1}{2}"}


@pytest.fixture
def run_config(tmp_path: Path) -> Any:
    """Compose a run's configuration with data files of (source, reward_model) rows."""

    def make(*rows: tuple[Any, Any], overrides: tuple[str, ...] = (), **reward_kwargs: Any) -> DictConfig:
        columns = {
            "data_source": [source for source, _ in rows],
            "prompt": [[{"role": "user", "content": "?"}]] * len(rows),
            "reward_model": [model for _, model in rows],
        }
        pq.write_table(pa.table(columns), tmp_path / "train.parquet")
        files = [f"data.{name}={tmp_path / 'train.parquet'}" for name in ("train_files", "val_files")]
        config = composed("maxpo_trainer", "reward.reward_manager.name=verifier", *files, *overrides)
        with open_dict(config):
            config.reward.reward_kwargs = {"workers": 1, "timeout": 20, **reward_kwargs}
        return config

    return make


def test_good_rewards_pass_and_the_reward_workers_are_told_the_sources(run_config: Any) -> None:
    config = run_config(("openai/gsm8k", GSM8K), ("openai/gsm8k", GSM8K), ("aime24", MATH))
    check_rewards(config)
    assert list(config.reward.reward_kwargs.data_sources) == ["aime24", "openai/gsm8k"]


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"verifier": "gsm8k", "method": "flexibel"}, r"method must be one of .*, got 'flexibel'"),
        (
            {"verifier": "gsm8k", "metod": "strict"},
            r"'gsm8k' does not take {'metod': 'strict'}: .*did you mean 'method'",
        ),
        ({"verifier": "math", "precison": 3}, r"'math' does not take {'precison': 3}"),
        (
            {"verifier": "python_function", "path": "nowhere.py", "name": "f"},
            r"path must be .*nowhere\.py",
        ),
        (
            {"verifier": "python_function", "path": toy_reward.__file__, "name": "chatty", "x": 1},
            "called with .*'x'",
        ),
        ({"verifier": "countdown"}, "row 0 of .*ground_truth must be like"),
        ({"verifier": "math", "keeps_state": "no"}, "keeps_state must be true or false, got 'no'"),
    ],
)
def test_a_route_that_would_train_on_zeros_is_an_error(run_config: Any, route: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_rewards(run_config(("openai/gsm8k", GSM8K), routes={"openai/gsm8k": route}))


def test_what_a_verifier_tries_and_may_not_do_is_a_warning(run_config: Any, caplog: pytest.LogCaptureFixture) -> None:
    route = {"verifier": "python_function", "path": toy_reward.__file__, "name": "chatty"}
    check_rewards(run_config(("mine", GSM8K), default_verifier=route))
    assert "'python_function' of the data source 'mine'" in caplog.text
    assert "tried what it may not do: open" in caplog.text


@pytest.mark.parametrize(
    ("rows", "overrides", "message"),
    [
        ([("nobody", GSM8K)], [], "no verifier claims the data source 'nobody'"),
        ([("apps", GSM8K)], [], r"are programs, which run in a sandbox service only: set reward\.sandbox_fusion\.url"),
        ([("aime24", MATH), (None, MATH)], [], "data_source must be text, but row 1 has None"),
        ([("aime24", MATH)], ["data.reward_fn_key=origin"], "has no column origin"),
        ([("aime24", MATH)], ["data.val_files=missing.parquet"], r"missing\.parquet does not exist"),
        (
            [("aime24", MATH)],
            ["reward.custom_reward_function.path=my.py", "reward.custom_reward_function.name=f"],
            "python_function, path: my.py, name: f",
        ),
        ([("aime24", MATH)], ["reward.reward_model.enable=true"], "without asking"),
        (
            [("aime24", MATH)],
            ["reward.reward_manager.name=verifer"],
            "did you mean 'verifier'",
        ),
    ],
)
def test_unusable_rewards_are_an_error(run_config: Any, rows: Any, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_rewards(run_config(*rows, overrides=tuple(overrides)))


def test_files_that_cannot_be_read_here_are_left_to_the_workers(
    run_config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = run_config(("aime24", MATH), overrides=("data.train_files=hdfs://host/train.parquet",))
    check_rewards(config)
    assert config.reward.reward_kwargs.data_sources is None
    assert "hdfs://host/train.parquet is not a local parquet or JSON file" in caplog.text


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "verl_maxpo.rewards.adapters.run_check", None)
    reward = {"reward_manager": {"name": "verifier"}}
    with pytest.raises(ValueError, match=r"pip install 'verl-maxpo\[rewards\]'"):
        startup._reported(OmegaConf.create({"reward": reward}))
    reward["reward_manager"]["name"] = "naive"
    startup._reported(OmegaConf.create({"reward": reward}))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return float(solution_str == '72')", None),
        ("return {'score': 1, 'judge': 2.0}", None),
        ("return open('/nowhere').read()", None),  # fails in the lock-down only, for all we know
        ("import numpy; return numpy.float32(1)", r"f of .*on row 0 of .*got numpy\.float32"),
        ("return {'acc': 1.0}", "got builtins.NoneType"),
        ("return float('nan')", "a reward must be finite"),
    ],
)
def test_what_verls_managers_could_not_use_is_an_error_at_start(
    run_config: Any, tmp_path: Path, code: str, message: str | None
) -> None:
    file = tmp_path / "rewards.py"
    file.write_text(f"def f(data_source, solution_str, ground_truth, extra_info, x=1):\n    {code}\n")
    custom = [f"reward.custom_reward_function.{key}={value}" for key, value in {"path": file, "name": "f"}.items()]
    overrides = ("reward.reward_manager.name=naive", *custom, "+reward.custom_reward_function.reward_kwargs.x=2")
    config = run_config(("aime24", GSM8K), overrides=overrides)
    if message is None:
        check_rewards(config)
    else:
        with pytest.raises(ValueError, match=message):
            check_rewards(config)


CHECKED = ("trainer.n_gpus_per_node=1", "ray_kwargs.ray_init.num_cpus=64", "actor_rollout_ref.model.path=org/model")


@pytest.mark.parametrize(
    ("manager", "code", "select_by", "message"),
    [
        ("naive", "return {'score': 1.0, 'judge': 0.5, 'text': 'x', 'list': []}", "judge", None),
        (
            "naive",
            "return {'score': 1.0, 'judge': 0.5}",
            "judg",
            r"got score, judge \(did you mean 'judge'\?\): return",
        ),
        ("naive", "return open('/nowhere').read()", "judge", None),  # in the lock-down only, for all we know
        ("verifier", "return {'score': float(solution_str == '72'), 'judge': 0.5}", "judge", None),
        ("verifier", "return float(solution_str == '72')", "vote", "a correct response of 'mine' has none: return"),
    ],
)
def test_what_is_selected_by_has_to_be_reported(
    run_config: Any, tmp_path: Path, manager: str, code: str, select_by: str, message: str | None
) -> None:
    file = tmp_path / "rewards.py"
    examples = "\n\ndef examples(ground_truth, extra_info):\n    return '72', '1'\n"
    file.write_text(f"def f(data_source, solution_str, ground_truth, extra_info):\n    {code}{examples}")
    overrides = [*CHECKED, f"algorithm.maxpo.select_by={select_by}"]
    options: dict[str, Any] = {"default_verifier": {"verifier": "python_function", "path": str(file), "name": "f"}}
    if manager == "naive":
        given = ("reward_manager.name=naive", f"custom_reward_function.path={file}", "custom_reward_function.name=f")
        overrides, options = [*overrides, *(f"reward.{option}" for option in given)], {}
    config = run_config(("mine", GSM8K), overrides=tuple(overrides), **options)
    if message is None:
        startup.check(config)
    else:
        with pytest.raises(ValueError, match=message):
            startup.check(config)


def test_only_data_sources_that_are_trained_on_need_a_judge(run_config: Any, tmp_path: Path) -> None:
    judge = {
        "verifier": "math",
        "judge": {"verifier": "python_function", "path": toy_reward.__file__, "name": "chatty"},
    }
    overrides = (*CHECKED, "algorithm.maxpo.select_by=judge")
    config = run_config(("aime24", MATH), overrides=overrides)
    (tmp_path / "train.parquet").rename(tmp_path / "aime24.parquet")
    files = {"train_files": str(tmp_path / "train.parquet"), "val_files": str(tmp_path / "aime24.parquet")}
    config = run_config(("openai/gsm8k", GSM8K), overrides=overrides, routes={"openai/gsm8k": judge})
    config.data.update(files)
    startup.check(config)
    config.data.update({"train_files": files["val_files"], "val_files": files["train_files"]})
    with pytest.raises(ValueError, match=r"needs judge in .*got acc, status, reason, answer, data_source: .*'aime24'"):
        startup.check(config)


def test_a_reward_model_alone_reports_no_score_of_a_judge(run_config: Any) -> None:
    reward = ("reward.reward_manager.name=naive", "reward.reward_model.enable=true")
    config = run_config(("mine", GSM8K), overrides=(*CHECKED, *reward, "algorithm.maxpo.select_by=judge"))
    with pytest.raises(ValueError, match=r"select_by=judge needs judge in the .*, got none: return"):
        startup.check(config)


@pytest.mark.parametrize("name", ["MaxPO", "max_po", "maxp", "gprpo", "GRPO"])
def test_an_estimator_with_nearly_a_known_name_is_an_error(name: str) -> None:
    near = "grpo" if "r" in name.lower() else "maxpo"
    with pytest.raises(ValueError, match=rf"adv_estimator={name} is not .*did you mean '{near}'.*: there are .*gae, "):
        startup.check_estimator(name)


def test_an_estimator_that_others_may_have_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    startup.check_estimator("maxpo")
    assert not caplog.text
    startup.check_estimator("somebody_elses")
    assert "adv_estimator=somebody_elses is not an estimator that verl knows: there are" in caplog.text


@pytest.mark.parametrize(
    ("path", "usable"),
    [
        ("Qwen/Qwen3-0.6B", True),
        ("gpt2", True),
        ("hdfs://host/models/qwen", True),
        ("{tmp_path}", True),
        ("{tmp_path}/nowhere", False),
        ("./nowhere", False),
        ("~/nowhere", False),
        ("models/qwen/nowhere", False),
    ],
)
@pytest.mark.parametrize("key", ["path", "tokenizer_path"])
def test_a_model_that_can_only_be_a_folder_has_to_be_one(tmp_path: Path, key: str, path: str, usable: bool) -> None:
    path = path.format(tmp_path=tmp_path)
    config = OmegaConf.create({"actor_rollout_ref": {"model": {"path": "gpt2", key: path}}})
    if usable:
        startup.check_model(config)
    else:
        with pytest.raises(ValueError, match=rf"actor_rollout_ref\.model\.{key}={path} is not a folder"):
            startup.check_model(config)


@pytest.mark.parametrize(
    ("slots", "overrides", "message"),
    [
        (
            2,
            [],
            r"needs 13 CPU slots of Ray, which will have 2.*\+\+trans.*units=1 \(now 8\) saves 7.*\+\+ray.*num_cpus=13",
        ),
        (12, [], "needs 13 CPU slots"),
        (13, [], None),
        (5, ["transfer_queue.backend.SimpleStorage.num_data_storage_units=1"], r"needs 6 .*forever: \+\+ray_kwargs"),
        (6, ["transfer_queue.backend.SimpleStorage.num_data_storage_units=1"], None),
        (2, ["trainer.nnodes=2"], None),
        (2, ["trainer.use_v1=false"], None),
        (2, ["+ray_kwargs.ray_init.address=auto"], None),
    ],
)
def test_a_run_that_would_wait_for_cores_forever_is_an_error(
    monkeypatch: pytest.MonkeyPatch, slots: int, overrides: list[str], message: str | None
) -> None:
    monkeypatch.setattr("ray._private.utils.read_ray_address", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    one_gpu = [f"ray_kwargs.ray_init.num_cpus={slots}", "trainer.n_gpus_per_node=1", *overrides]
    config = composed("ppo_trainer", *one_gpu, package="verl.trainer.config")
    if message is None:
        startup.check_slots(config)
    else:
        with pytest.raises(ValueError, match=message):
            startup.check_slots(config)


@pytest.mark.parametrize(("name", "parameters"), [door[1:] for door in startup.DOORS])
def test_both_doors_of_a_run_are_watched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, parameters: list[str]
) -> None:
    checked: list[Any] = []
    monkeypatch.setattr(startup, "check", checked.append)
    module = types.ModuleType("verl.door")
    exec(f"def {name}({', '.join(parameters)}): return 'done'", module.__dict__)
    startup.check_before(module, name, parameters)
    assert getattr(module, name)(*range(len(parameters))) == "done"
    assert checked == [0]
    changed = types.ModuleType("verl.changed")
    exec(f"def {name}(everything): return 'done'", changed.__dict__)
    startup.check_before(changed, name, parameters)
    assert "verl has changed" in caplog.text
    assert getattr(changed, name)(1) == "done"


def test_main_ppo_stops_at_once(tmp_path: Path) -> None:
    config = ["--config-path", "pkg://verl_maxpo.config", "--config-name", "maxpo_trainer", f"hydra.run.dir={tmp_path}"]
    overrides = ["reward.reward_manager.name=verifer", "actor_rollout_ref.model.path=org/model"]
    overrides.append("ray_kwargs.ray_init.num_cpus=64")
    done = run_module("verl.trainer.main_ppo", *config, *overrides)
    assert done.returncode != 0
    assert "did you mean 'verifier'?" in done.stderr, done.stderr
    assert "ray init kwargs" not in done.stdout
