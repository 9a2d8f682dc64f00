"""What GSM8K's dumps of evaluate_gsm8k.sh hold: right samples of every problem, how responses fail, and an audit.

The audit asks math-verify, which shares nothing with the verifier `gsm8k`, about 100 responses that have the mark
``####``: up to 50 that the verifier accepts, the others drawn among those that it rejects.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

from math_verify import parse, verify
from omegaconf import OmegaConf
from transformers import AutoTokenizer

from verl_maxpo.evaluate.settings import read_settings
from verl_maxpo.rewards.verifiers.gsm8k import verify as by_our_verifier

AUDITED = 100
NUMBER = re.compile(r"\s*\$?-?\$?[\d,]*\.?\d")


def line_of(run: Path) -> dict[str, Any]:
    """Return what is kept of an evaluation."""
    settings = read_settings(run)
    limit = OmegaConf.load(run / "hydra" / ".hydra" / "config.yaml").data.max_response_length
    samples = [json.loads(line) for line in (run / "validation" / "0.jsonl").read_text().splitlines()]
    successes = successes_of(samples)
    by_last_number = [{**sample, "acc": last_number_is_right(sample)} for sample in samples]
    tokenizer = AutoTokenizer.from_pretrained(settings["MODEL"])
    lengths = [len(tokenizer(sample["output"], add_special_tokens=False).input_ids) for sample in samples]
    marked = [sample for sample in samples if "####" in sample["output"]]
    return {
        "model": Path(settings["MODEL"]).name,
        "samples": len(samples) // len(successes),
        "successes": successes,
        "successes_by_last_number": successes_of(by_last_number),
        "no_mark": len(samples) - len(marked),
        "no_number": sum(not NUMBER.match(after_the_mark(sample)) for sample in marked),
        "cut_off": sum(length >= limit - 1 for length in lengths),
        "audit": audit(marked),
    }


def successes_of(samples: list[dict[str, Any]]) -> list[int]:
    """Count the right samples of every problem, in the order of the prompts' texts."""
    right: Counter[str] = Counter({sample["input"]: 0 for sample in samples})
    right.update(sample["input"] for sample in samples if sample["acc"] == 1)
    return [right[prompt] for prompt in sorted(right)]


def after_the_mark(sample: dict[str, Any]) -> str:
    """Return what follows the last mark of a response."""
    return str(sample["output"].rpartition("####")[2])


def last_number_is_right(sample: dict[str, Any]) -> bool:
    """Return whether the last number of a response is the answer, with or without the mark."""
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
        print(f"gold {sample['gts']}, verdict {sample['acc']}: ...{after_the_mark(sample)[:100]!r}")
    return {"accepted": min(len(accepted), AUDITED // 2), "audited": len(chosen), "differ": len(differ)}


def math_verify_says(sample: dict[str, Any]) -> bool:
    """Return whether math-verify takes the rest of the line after the last mark for the right answer."""
    answer = after_the_mark(sample).strip().split("\n")[0]
    return bool(verify(parse(f"${sample['gts']}$"), parse(answer)))
