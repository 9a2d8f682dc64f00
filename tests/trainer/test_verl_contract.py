"""The estimator as verl itself calls and configures it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from support.processes import run_module
from support.verl_runs import batch, composed
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils.config import validate_config

import verl_maxpo
from verl_maxpo import grouped_max_at_k_advantages

PRIMARY_CONFIGS = ["maxpo_trainer", "maxpo_trainer_cpu"]


@pytest.mark.parametrize("k", [1, 4, 7])
def test_verl_computes_maxpo_advantages(k: int) -> None:
    config = composed("ppo_trainer", f"+algorithm.maxpo.k={k}", "algorithm.adv_estimator=maxpo",
                      package="verl.trainer.config").algorithm  # fmt: skip
    data = compute_advantage(batch(), adv_estimator=config.adv_estimator, config=config, num_repeat=8)
    rewards = data.batch["token_level_rewards"].sum(-1)
    expected = grouped_max_at_k_advantages(rewards, data.non_tensor_batch["uid"], k)
    mask = data.batch["response_mask"]
    torch.testing.assert_close(data.batch["advantages"], expected[:, None] * mask)
    assert torch.equal(data.batch["advantages"], data.batch["returns"])
    assert data.batch["advantages"].count_nonzero() == mask.sum()


def test_v1_hands_the_batch_on_unchanged() -> None:
    config = composed("maxpo_trainer", "algorithm.maxpo.k=4").algorithm
    keys = [f"{uid}_{row}_0" for row, uid in enumerate(batch().non_tensor_batch["uid"])]
    v1 = compute_advantage_for_multi_trajectories(batch(), keys, adv_estimator="maxpo", config=config)
    v0 = compute_advantage(batch(), adv_estimator="maxpo", config=config)
    assert torch.equal(v1.batch["advantages"], v0.batch["advantages"])


@pytest.mark.parametrize("theirs", ["rloo", "rloo_vectorized"])
def test_k_1_is_verls_rloo(theirs: str) -> None:
    data = batch(seed=1)
    arguments: dict[str, Any] = {
        "token_level_rewards": data.batch["token_level_rewards"],
        "response_mask": data.batch["response_mask"],
        "index": data.non_tensor_batch["uid"],
    }
    ours = get_adv_estimator_fn("maxpo")(**arguments, config=OmegaConf.create({"maxpo": {"k": 1}}))
    rloo = get_adv_estimator_fn(theirs)(**arguments)
    torch.testing.assert_close(ours[0], rloo[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours[1], rloo[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", PRIMARY_CONFIGS)
def test_configs_compose_and_pass_verls_validation(name: str) -> None:
    config = composed(name, "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8",
                      "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8",
                      "actor_rollout_ref.rollout.name=vllm")  # fmt: skip
    assert config.algorithm.adv_estimator == "maxpo"
    assert config.algorithm.maxpo.k < config.actor_rollout_ref.rollout.n
    OmegaConf.to_container(config, resolve=True)  # as verl does; an interpolation that leads nowhere raises
    verls_own = validate_config.__wrapped__  # our checks of data and machine are in tests/test_startup.py
    verls_own(config, use_reference_policy=False, use_critic=False)


@pytest.mark.parametrize("name", PRIMARY_CONFIGS)
@pytest.mark.parametrize("typo", ["algorithm.maxpo.kk=3", "algorithm.maxpo.scale=true", "algorithm.max_po.k=3"])
def test_misspelt_options_fail_at_composition(name: str, typo: str) -> None:
    with pytest.raises(ConfigCompositionException, match=typo.split("=")[0]):
        composed(name, typo)


@pytest.mark.parametrize("estimator", ["grpo", "rloo", "grpo_passk"])
def test_another_estimator_is_one_override(estimator: str) -> None:
    config = composed("maxpo_trainer_cpu", f"algorithm.adv_estimator={estimator}").algorithm
    data = compute_advantage(batch(), adv_estimator=config.adv_estimator, config=config, num_repeat=8)
    assert data.batch["advantages"].any()


def test_configs_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = ["--config-path", "pkg://verl_maxpo.config", "--config-name", "maxpo_trainer", "algorithm.maxpo.k=3"]
    result = run_module("verl.trainer.main_ppo", *config, "--cfg", "job", "--package", "algorithm.maxpo")
    assert result.returncode == 0, result.stderr
    assert "k: 3\nselect_by: reward\nweights: null\nbaseline: l2o" in result.stdout


def test_the_estimator_needs_verl_and_what_verl_needs() -> None:
    """Whoever wants the estimator only installs nothing of the extras."""
    needed = {"torch", "numpy", "omegaconf", "verl", "wrapt", "tensordict", "verl_maxpo", *sys.stdlib_module_names}
    package = Path(verl_maxpo.__file__).parent
    files = [package / "__init__.py", package / "guards.py", package / "plugin.py"]
    files += [file for room in ("best_of_k", "trainer") for file in (package / room).rglob("*.py")]
    files.remove(package / "trainer" / "replay_buffer.py")  # of the trainer that needs TransferQueue itself
    assert len(files) > 15
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= needed, file
