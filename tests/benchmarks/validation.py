"""What pass@k and max@k add to a validation: beside verl's own metrics of the same samples (two minutes).

python tests/benchmarks/validation.py --prompts 1319 --samples 16
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from verl.trainer.ppo.metric_utils import process_validation_metrics

from verl_maxpo.trainer.validation import validation_metrics


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1319)
    parser.add_argument("--samples", type=int, default=16)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    difficulty = rng.beta(0.5, 0.5, (options.prompts, 1))
    acc = (rng.random((options.prompts, options.samples)) < difficulty).astype(float).ravel().tolist()
    prompts = [f"uid{prompt}" for prompt in range(options.prompts)]
    arguments = ["math"] * len(acc), list(np.repeat(prompts, options.samples)), {"reward": acc, "acc": acc}
    expected = {("math", prompt): options.samples for prompt in prompts}
    ours = median(seconds(lambda: validation_metrics(*arguments, expected)) for _ in range(7))
    verls = seconds(lambda: process_validation_metrics(*arguments, expected_acc_counts=expected))
    print(f"pass@k and max@k {ours:.2f} s, verl's own metrics {verls:.1f} s: {ours / verls:.2%}")


if __name__ == "__main__":
    main()
