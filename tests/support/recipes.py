"""How tests run the recipes of examples/: by the scripts themselves, on bundled data, a tiny model and the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES = Path(__file__).parents[1] / "samples"

#: The run script of each recipe.
SCRIPTS = {script.parent.name: script for script in sorted(EXAMPLES.glob("*/run_qwen*.sh"))}

CPU_ENVIRONMENT = {
    **{"VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1", "TQ_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    **{"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"},
    **{"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"},
    "PREPARE": "false",  # the bundled samples are fewer rows than a script asks for
}
SETTINGS = {"K": "2", "N": "4", "STEPS": "2", "GPUS": "1"}
#: What makes a recipe small, and nothing else.
CPU_OVERRIDES = [
    "+platform=cpu",
    "data.train_batch_size=4",
    "data.max_prompt_length=1024",
    "data.max_response_length=16",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "actor_rollout_ref.rollout.max_model_len=1040",
    "actor_rollout_ref.rollout.max_num_batched_tokens=2080",
    "actor_rollout_ref.rollout.val_kwargs.n=2",
    "trainer.val_before_train=false",
    "trainer.test_freq=2",
    "trainer.save_freq=-1",
    "reward.reward_kwargs.workers=1",
]


def make_model(folder: Path) -> None:
    """Save a Qwen2 with random weights and a tokenizer of single bytes with a chat template."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM
    from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

    characters = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer(
        vocab={character: index for index, character in enumerate(characters)},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    GenerationConfig(eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id).save_pretrained(folder)


def prepare_samples(folder: Path) -> None:
    """Prepare the bundled samples where the run scripts look for their data."""
    evaluation = ["aime24", "aime25", "amc23", "math500"]
    tests = [str(folder / name / "test.parquet") for name in evaluation]
    for name in evaluation:
        _prepare(folder / name, name, "--local", f"test={SAMPLES / name}.jsonl")
    for name in ("gsm8k", "math"):
        local = [f"{split}={SAMPLES / name}_{split}.jsonl" for split in ("train", "test")]
        _prepare(folder / name, name, "--local", *local, "--against", *tests)
    _prepare(folder / "dapo_math", "dapo_math", "--local", f"train={SAMPLES / 'dapo_math.jsonl'}")
    for name, task in [("countdown", "countdown"), ("maze", "shortest_path")]:
        _prepare(folder / name, f"reasoning_gym:{task}", "--size", "16", "--test-size", "4")


def _prepare(folder: Path, *arguments: str) -> None:
    from verl_maxpo.cli import main

    assert main(["prepare", *arguments, "--out", str(folder)]) == 0, arguments


def run_script(script: Path, *overrides: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a script with settings from the environment, with this Python first in the PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **settings}
    return subprocess.run([script, *overrides], env=environment, capture_output=True, text=True, timeout=1700)
