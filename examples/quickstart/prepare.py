"""Make the quickstart's data and the small language model that it starts from.

    python prepare.py --out DIR [--task hidden_digit] [--seed 1] [--size 30M] [--make]

writes DIR/train.parquet and DIR/test.parquet in verl's schema and DIR/model in Hugging Face format: a Qwen2 of about
335,000 parameters that writes valid expressions which come near the target. It solves about one problem in ten at the
first try and half of them within eight. The models of start/ are copied, so that everybody starts from the same one;
others, and all with --make, are trained here: one to two minutes, or with 30 million parameters on a GPU. Files that
exist already are kept. The tasks are those of countdown.py; DIR holds one of them.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from countdown import TASKS, Problem, Question, draw_problem, expressions, questions
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

START = Path(__file__).parent / "start"  # the models that come with the examples
SEED = 0
STEPS = 725
BATCH_SIZE = 256
IGNORED = -100  # label of tokens without loss
HIDDEN_DIGIT_ROWS = 16_384  # draws of a prompt and what it stands for this time; a thousand steps of 16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Size(NamedTuple):
    """Of a model, and the learning rate that suits it; the smallest head of vLLM's CPU attention has 32 dimensions."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    learning_rate: float


SIZES = {"335k": Size(96, 256, 3, 3, 3e-3), "30M": Size(640, 1792, 6, 10, 5e-4)}


def make_tokenizer(task: str = "countdown") -> Qwen2Tokenizer:
    """Return a Qwen2 tokenizer with one token for each character of the task and no chat markup."""
    # verl wants a newline token of Qwen tokenizers ("Ċ" in byte-level BPE), and vLLM's vocabulary must be the model's.
    characters = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "Ċ", *"0123456789", *"+-*:="]
    if task == "hidden_digit":
        characters.append("?")
    tokenizer = Qwen2Tokenizer(
        vocab={character: index for index, character in enumerate(characters)},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


def make_model(tokenizer: Qwen2Tokenizer, size: Size = SIZES["335k"]) -> Qwen2ForCausalLM:
    """Return a Qwen2 with random weights."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=64,
        initializer_range=0.05 * math.sqrt(96 / size.hidden),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return cast(Qwen2ForCausalLM, Qwen2ForCausalLM(config).to(DEVICE))


def draw_answer(problem: Problem, rng: random.Random) -> str:
    """Draw a demonstration: half the time any valid expression, else one that comes near the target."""
    values = expressions(problem.digits)
    if rng.random() < 0.5:
        return rng.choice(list(values))
    distance = np.abs(np.fromiter(values.values(), dtype=float) - problem.target)
    return rng.choices(list(values), weights=np.exp(-distance / 2).tolist())[0]


def draw_batch(train: list[Question], tokenizer: Qwen2Tokenizer, rng: random.Random) -> dict[str, torch.Tensor]:
    """Draw demonstrations as input ids and labels; the loss is on the answer only.

    All the problems of a question are as likely here: what the prompt hides is left to be found out by training.
    """
    asked = [rng.choice(train) for _ in range(BATCH_SIZE)]
    drawn = [question[0] if len(question) == 1 else rng.choice(question) for question in asked]
    token_of = tokenizer.get_vocab()
    prompts = [[token_of[c] for c in problem.prompt] for problem in drawn]
    answers = [[token_of[c] for c in draw_answer(problem, rng)] + [tokenizer.eos_token_id] for problem in drawn]
    input_ids = torch.tensor([p + a for p, a in zip(prompts, answers, strict=True)], device=DEVICE)
    labels = input_ids.clone()
    labels[:, : len(prompts[0])] = IGNORED
    return {"input_ids": input_ids, "labels": labels}


def train_model(
    model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, train: list[Question], rate: float, seed: int
) -> None:
    """Train on demonstrations of the training problems."""
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(STEPS):
        cosine = 0.5 * (1 + math.cos(math.pi * step / STEPS))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * (0.02 + 0.98 * cosine)
        loss = model(**draw_batch(train, tokenizer, rng)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"  warm start: step {step + 1:3d} of {STEPS}, loss {loss.item():.3f}", flush=True)


def save_model(folder: Path, task: str, train: list[Question], size: Size, seed: int = SEED) -> None:
    """Make, train and save model and tokenizer."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(task)
    model = make_model(tokenizer, size)
    train_model(model, tokenizer, train, size.learning_rate, seed)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id).save_pretrained(
        unfinished
    )
    unfinished.rename(folder)


def shipped_model(task: str, size: str = "335k", seed: int = SEED) -> Path | None:
    """Return the folder of a starting model that comes with the examples; None if it does not."""
    folder = START / f"{task}-{size}-seed{seed}"
    return folder if folder.exists() else None


def save_problems(file: Path, split: str, rows: list[Problem]) -> None:
    """Save problems in verl's schema."""
    pd.DataFrame(
        {
            "data_source": "countdown4",
            "prompt": [[{"role": "user", "content": problem.prompt}] for problem in rows],
            "ability": "math",
            "reward_model": [{"style": "rule", "ground_truth": problem.ground_truth} for problem in rows],
            "extra_info": [
                {"split": split, "index": index, "solution": problem.solution} for index, problem in enumerate(rows)
            ],
        }
    ).to_parquet(file)


def draw_rows(part: list[Question], count: int) -> list[Problem]:
    """Return the problems of a part of the data, or as many draws from it where a prompt has several."""
    if all(len(question) == 1 for question in part):
        return [question[0] for question in part]
    rng = random.Random(SEED)
    shuffled = [question for _ in range(-(-count // len(part))) for question in rng.sample(part, len(part))]
    return [draw_problem(question, rng) for question in shuffled[:count]]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--task", choices=TASKS, default="countdown", help="see countdown.py (default: %(default)s)")
    parser.add_argument("--size", choices=SIZES, default="335k", help="of the model, in parameters (default: 335k)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the model (default: %(default)s)")
    parser.add_argument("--make", action="store_true", help="train the model here even if it is one of start/")
    arguments = parser.parse_args()
    out, task, size, seed = arguments.out, arguments.task, arguments.size, arguments.seed
    out.mkdir(parents=True, exist_ok=True)
    train, test = questions(task)
    train_rows, test_rows = draw_rows(train, HIDDEN_DIGIT_ROWS), draw_rows(test, len(test))
    save_problems(out / "train.parquet", "train", train_rows)
    save_problems(out / "test.parquet", "test", test_rows)
    print(f"  {len(train_rows)} training and {len(test_rows)} held-out problems in {out}")
    shipped = None if arguments.make else shipped_model(task, size, seed)
    if not (out / "model").exists():
        if shipped:
            shutil.copytree(shipped, out / "model")
        else:
            save_model(out / "model", task, train, SIZES[size], seed)
    print(f"  starting model in {out / 'model'}")


if __name__ == "__main__":
    main()
