r"""Teach a model the form of GSM8K's answers: a short warm start on solutions of the training split.

    python examples/smollm2/warm_start.py outputs/data/gsm8k/train.parquet --model outputs/smollm2/model \
        --out outputs/smollm2/warm

The prompts are those of the prepared data, so that what is learned serves the recipe; the loss is over the solution
alone, without the calculator's notes (``<<48/2=24>>``). The solutions come from the hub, or from GSM8K's own file with
``--solutions train.jsonl``. Weights and optimizer are in float32, products in bfloat16.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
    set_seed,
)

NOTES = re.compile(r"<<[^>]*>>")
NO_LOSS = -100
MICRO_BATCH = 4


def solutions_of(file: Path | None) -> dict[str, str]:
    """Return the solution of every question."""
    rows = load_dataset("json", data_files=str(file)) if file else load_dataset("openai/gsm8k", "main")
    return {row["question"].strip(): NOTES.sub("", row["answer"]) for row in rows["train"]}


def example_of(row: Any, solution: str, tokenizer: Any) -> dict[str, list[int]]:
    """Return the tokens of a prompt and its solution, and the labels of the solution up to the end of the response."""
    prompt = tokenizer.apply_chat_template(
        list(row.prompt), add_generation_prompt=True, tokenize=True, return_dict=True
    ).input_ids
    response = [*tokenizer(solution, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    return {"input_ids": [*prompt, *response], "labels": [NO_LOSS] * len(prompt) + response}


def settings_of(args: argparse.Namespace, on_cpu: bool) -> TrainingArguments:
    """Return how the Trainer trains."""
    return TrainingArguments(
        output_dir=args.out,
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=args.batch // MICRO_BATCH,
        num_train_epochs=1,
        learning_rate=args.lr,
        lr_scheduler_type="cosine",
        warmup_steps=5,
        use_cpu=on_cpu,
        bf16=True,
        seed=args.seed,
        logging_steps=5,
        save_strategy="no",
        report_to="none",
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="prepared training data of GSM8K")
    parser.add_argument("--model", required=True, help="a folder, or a name of the hub")
    parser.add_argument("--out", required=True, help="folder of the model that comes out")
    parser.add_argument("--solutions", type=Path, help="GSM8K's train.jsonl (default: the hub's)")
    parser.add_argument("--problems", type=int, default=1000, help="drawn with the seed (default: %(default)s)")
    parser.add_argument(
        "--batch", type=int, default=16, help="problems in an update, a multiple of 4 (default: %(default)s)"
    )
    parser.add_argument("--lr", type=float, default=1e-4, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = arguments()
    set_seed(args.seed)

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    on_cpu = not torch.cuda.is_available()
    attention = "eager" if on_cpu else "sdpa"  # the backward pass of fused attention is slow in bf16 on CPU
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation=attention)
    solutions = solutions_of(args.solutions)
    rows = pd.read_parquet(args.train).sample(args.problems, random_state=args.seed)
    examples = [example_of(row, solutions[row.extra_info["question"].strip()], tokenizer) for row in rows.itertuples()]
    collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=NO_LOSS)
    Trainer(model, settings_of(args, on_cpu), train_dataset=examples, data_collator=collator).train()
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
