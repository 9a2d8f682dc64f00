"""verl's own trainer with MaxPO: entry point, Ray workers, FSDP2 actor, vLLM rollout, estimator, checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support import random_reward
from support.quickstart import QUICKSTART, countdown, prepare

from verl_maxpo import grouped_max_at_k_advantages, pass_at_k

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

K, N = 3, 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the quickstart's data and an untrained model with tied embeddings."""
    folder = tmp_path_factory.mktemp("data")
    train, test = countdown.problems()
    prepare.save_problems(folder / "train.parquet", "train", train[:64])
    prepare.save_problems(folder / "test.parquet", "test", test)
    torch.manual_seed(0)
    tokenizer = prepare.make_tokenizer()
    prepare.make_model(tokenizer).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def launch(script: str, data: Path, *overrides: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one of the quickstart's scripts."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **{
            "DATA": str(data),
            "TASK": "countdown",
            "K": str(K),
            "N": str(N),
            "PROMPTS": "16",
            "EVAL_PROBLEMS": "4",
            "LR": "1e-2",
        },
        **{"TIME_LIMIT": "25m", "STEPS": "2", **settings},
    }
    function = f"path: {random_reward.__file__}, name: compute_score, score_range: [0, 10]"
    reward = f"++reward.reward_kwargs.routes={{countdown4: {{verifier: python_function, {function}}}}}"
    return subprocess.run(
        [QUICKSTART / script, reward, *overrides], env=environment, capture_output=True, text=True, timeout=1700
    )


def metrics_of(run: Path) -> dict[int, dict[str, Any]]:
    (file,) = run.glob("metrics-*.jsonl")
    rows = map(json.loads, file.read_text().splitlines())
    return {row["step"]: row["data"] for row in rows}


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """Run the quickstart for two steps, with a checkpoint."""
    result = launch("quickstart.sh", data, f"trainer.rollout_data_dir={data}/rollouts")
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    assert "step 2, mean reward of the batch" in result.stdout
    *above, written, picture, following = result.stdout.splitlines()
    assert [line for line in above if "@k" in line] == ["countdown4: pass@k"]
    assert written.startswith(f"written to {data}/report: ")
    assert Path(picture.removeprefix("Picture: ")) == data / "report" / "report.png"
    assert (data / "report" / "report.png").exists()
    assert following.startswith("Next: ")
    return data / "maxpo-k3-n6-lr1e-2-seed0"


@pytest.mark.parametrize("step", [1, 2])
def test_the_actor_trained_on_max_at_k_advantages(run: Path, step: int) -> None:
    rollouts = pd.read_json(run.parent / "rollouts" / f"{step}.jsonl", lines=True)
    prompt = rollouts["uid"].str.rsplit("_", n=2).str[0]
    assert (prompt.value_counts() == N).all()
    rewards = torch.tensor(rollouts["score"].to_numpy(), dtype=torch.float32)
    expected = grouped_max_at_k_advantages(rewards, prompt.to_numpy(), K)
    metrics = metrics_of(run)[step]
    assert metrics["critic/advantages/max"] == pytest.approx(expected.max().item(), rel=1e-5)
    assert metrics["critic/advantages/min"] == pytest.approx(expected.min().item(), rel=1e-5)
    assert metrics["actor/grad_norm"] > 0


@pytest.mark.parametrize("step", [1, 2])
def test_metrics_are_tracked(run: Path, step: int) -> None:
    metrics = metrics_of(run)[step]
    assert metrics["best_of_k/reward@1"] == pytest.approx(metrics["critic/rewards/mean"], rel=1e-5)
    assert metrics["best_of_k/reward@1"] < metrics[f"best_of_k/reward@{K}"] < metrics["critic/rewards/max"]
    assert metrics["best_of_k/groups/signal"] == 1  # real-valued rewards without ties
    assert metrics["best_of_k/advantage/mean"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("step", [1, 2])
def test_vllm_has_the_actors_weights(run: Path, step: int) -> None:
    # At step 2 the weights have been synchronised after an update, with a learning rate that changes them visibly.
    assert metrics_of(run)[step]["training/rollout_probs_diff_max"] < 1e-4


def test_validation_was_dumped_before_and_after(run: Path) -> None:
    for step in (0, 2):
        samples = pd.read_json(run / "validation" / f"{step}.jsonl", lines=True)
        assert (samples.groupby("input").size() == 8).all()
        assert samples["input"].nunique() == 4


@pytest.mark.parametrize("k", [1, 4, 8])
def test_validation_logs_what_evaluate_makes_of_its_dump(run: Path, k: int) -> None:
    samples = pd.read_json(run / "validation" / "2.jsonl", lines=True)
    correct = samples.groupby("input")["acc"].sum().astype(int).to_numpy()
    logged = {name: value for name, value in metrics_of(run)[2].items() if name.endswith(f"/acc/pass@{k}")}
    assert list(logged.values()) == [pytest.approx(pass_at_k(8, correct, k).mean())]
