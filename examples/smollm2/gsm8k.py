"""What GSM8K's dumps of evaluate_gsm8k.sh hold: right samples of every problem, how responses fail, and an audit.

The audit asks math-verify, which shares nothing with the verifier `gsm8k`, about 100 responses that have the mark
``####``: up to 50 that the verifier accepts, the others drawn among those that it rejects.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from math_verify import parse, verify
from omegaconf import OmegaConf
from transformers import AutoTokenizer

from verl_maxpo.evaluate.summary import read_settings
from verl_maxpo.rewards.verifiers.gsm8k import verify as by_our_verifier

AUDITED = 100


def line_of(run: Path) -> dict[str, Any]:
    """Return what is kept of an evaluation."""
    settings = read_settings(run)
    limit = OmegaConf.load(run / "hydra" / ".hydra" / "config.yaml").data.max_response_length
    samples = [json.loads(line) for line in (run / "validation" / "0.jsonl").read_text().splitlines()]
    successes = successes_of(samples)
    tokenizer = AutoTokenizer.from_pretrained(settings["MODEL"])
    lengths = [len(tokenizer(sample["output"], add_special_tokens=False).input_ids) for sample in samples]
    marked = [sample for sample in samples if "####" in sample["output"]]
    return {
        "model": settings["TAG"] or "start",
        "samples": len(samples) // len(successes),
        "successes": successes,
        "no_mark": len(samples) - len(marked),
        "marked_no_number": sum(sample["pred"] == "" for sample in marked),
        "cut_off": sum(length >= limit - 1 for length in lengths),
        "right_last_number_only": sum(sample["acc"] == 0 and _right_at_the_end(sample) for sample in samples),
        "audit": audit(marked),
    }


def successes_of(samples: list[dict[str, Any]]) -> list[int]:
    """Count the right samples of every problem, in the order of the prompts' texts."""
    right: Counter[str] = Counter({sample["input"]: 0 for sample in samples})
    right.update(sample["input"] for sample in samples if sample["acc"] == 1)
    return [right[prompt] for prompt in sorted(right)]


def _right_at_the_end(sample: dict[str, Any]) -> bool:
    return by_our_verifier(sample["output"], sample["gts"], {}, method="flexible").correct


def audit(marked: list[dict[str, Any]]) -> dict[str, int]:
    """Compare verdicts with math-verify's on the line after the last mark; print those that differ."""
    rng = random.Random(0)
    accepted = [sample for sample in marked if sample["acc"] == 1]
    rejected = [sample for sample in marked if sample["acc"] == 0]
    chosen = rng.sample(accepted, min(len(accepted), AUDITED // 2))
    chosen += rng.sample(rejected, min(len(rejected), AUDITED - len(chosen)))
    differ = [sample for sample in chosen if math_verify_says(sample) != (sample["acc"] == 1)]
    for sample in differ:
        print(f"gold {sample['gts']}, verdict {sample['acc']}: ...{sample['output'].rpartition('####')[2][:100]!r}")
    return {"accepted": min(len(accepted), AUDITED // 2), "audited": len(chosen), "differ": len(differ)}


def math_verify_says(sample: dict[str, Any]) -> bool:
    """Return whether math-verify takes the rest of the line after the last mark for the right answer."""
    answer = sample["output"].rpartition("####")[2].strip().split("\n")[0]
    return bool(verify(parse(f"${sample['gts']}$"), parse(answer)))
