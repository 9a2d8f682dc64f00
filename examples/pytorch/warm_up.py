"""Give a model of a task a start: train it for a while on right answers to training problems.

    python examples/pytorch/warm_up.py --task maze --batches 180 --out outputs/maze
    python examples/pytorch/warm_up.py --task numbers --train 1024 --model MODEL --out outputs/numbers

Without ``--model`` it is the Qwen2 of MaxRL's maze, with random weights and one token a character. Held-out
problems are not shown. Reinforcement wants a start that solves some of the problems some of the time: ``--until .05``
stops when the first answer is right one time in twenty; the last line says how often it is on held-out problems.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tasks import MAZE_CHARACTERS, NAMES, Problem, Task, make_task
from train import Policy
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

from verl_maxpo import pass_at_k

VOCABULARY = 32  # as MaxRL's; the characters take half of it


def make_model(folder: Path, hidden: int, layers: int) -> None:
    """Save a Qwen2 with random weights, and its tokenizer, which has a token for every character of a maze."""
    characters = ["<|pad|>", "<|end|>", "\u010a", *MAZE_CHARACTERS]  # the newline in byte-level BPE
    characters += [f"<|unused{i}|>" for i in range(VOCABULARY - len(characters))]
    tokenizer = Qwen2Tokenizer(
        vocab={character: index for index, character in enumerate(characters)},
        merges=[],
        eos_token="<|end|>",
        pad_token="<|pad|>",
        unk_token="<|pad|>",
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def loss_of(policy: Policy, problems: list[Problem]) -> torch.Tensor:
    """Return the loss of the solutions, a mean over their tokens."""
    rows = policy.tokenizer([one.solution for one in problems], add_special_tokens=False).input_ids
    longest = max(map(len, rows)) + 1
    device = policy.model.device
    responses = torch.tensor([row + [policy.end] * (longest - len(row)) for row in rows], device=device)
    owners = torch.arange(len(problems), device=device)
    mask = policy.mask(responses)
    return -(policy.log_probs(policy.encode(problems), owners, responses, 1.0)[0] * mask).sum() / mask.sum()


def pass_rates(policy: Policy, task: Task, problems: Sequence[Any], samples: int = 16) -> dict[str, float]:
    """Return the mean pass@k of some problems."""
    generator = torch.Generator(policy.model.device).manual_seed(0)
    texts = policy.decode(policy.sample(policy.encode(problems), samples, task.length, 1.0, generator))
    worth = [0.0 if t is None else task.reward(problems[i // samples], t) for i, t in enumerate(texts)]
    right = (np.array(worth).reshape(-1, samples) == 1).sum(axis=1)
    return {f"pass@{k}": round(float(pass_at_k(samples, right, k).mean()), 3) for k in (1, 4, samples)}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model that comes out")
    parser.add_argument("--model", help="folder or name on the hub (default: a new, small model for mazes)")
    parser.add_argument("--task", default="maze", choices=NAMES)
    for name, default, meaning in [
        ("batches", 1500, "of problems"), ("problems", 32, "in a batch"), ("lr", 5e-4, "learning rate"),
        ("seed", 0, ""), ("hidden", 256, "size of the new model"), ("layers", 4, "of the new model"),
        ("size", 9, "of a maze"),
        ("train", 0, "problems of a fixed set, 0 for all"), ("held-out", 256, "problems that are not shown"),
    ]:  # fmt: skip
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--until", type=float, default=0.0, help="stop at this pass@1 (default: do all batches)")
    parser.add_argument("--data", type=Path, default=Path("outputs/data/gsm8k"), help="folder of GSM8K's files")
    parser.add_argument("--bf16", action="store_true", help="products in bfloat16: for a GPU, or a CPU with AMX")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    task = make_task(
        args.task, size=args.size, data=args.data, train=args.train, held_out=args.held_out, seed=args.seed
    )
    with tempfile.TemporaryDirectory() as folder:
        if not args.model:
            make_model(Path(folder), args.hidden, args.layers)
        policy = Policy(args.model or folder, bf16=args.bf16)
    policy.check(task.held_out[0][0])
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=args.lr, weight_decay=0.01)
    rng, began = random.Random(args.seed), time.time()
    for batch in range(args.batches):
        optimizer.param_groups[0]["lr"] = args.lr * min(1, (batch + 1) / 50) * (1 - batch / args.batches)
        loss = loss_of(policy, list(task.draw(rng, batch, args.problems)))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimizer.step()
        if batch % 50 == 0 or batch == args.batches - 1:
            print(f"  batch {batch + 1}, loss {loss.item():.3f}, {time.time() - began:.0f} s", flush=True)
            if args.until and pass_rates(policy, task, task.draw(random.Random(0), 0, 32))["pass@1"] >= args.until:
                break
    policy.model.save_pretrained(args.out)
    policy.tokenizer.save_pretrained(args.out)
    print(f"  held out: {pass_rates(policy, task, [question[0] for question in task.held_out[:64]])}")


if __name__ == "__main__":
    main()
