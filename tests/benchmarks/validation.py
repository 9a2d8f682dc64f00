"""What a validation costs with the columns of the manager `verifier`, our metrics and the quick bootstrap, beside verl.

python tests/benchmarks/validation.py --prompts 60 --samples 16
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import verl  # noqa: F401 - loads the plugin
from verl.trainer.ppo import metric_utils
from verl.trainer.ppo.metric_utils import process_validation_metrics
from verl.trainer.ppo.v1 import trainer_base

from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.scoring import ResponseScorer
from verl_maxpo.trainer.validation import validation_metrics

SOURCE = "openai/gsm8k"


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def scored(responses: list[str]) -> dict[str, list[Any]]:
    """Return the columns that the reward manager reports for the responses, right ones being 72."""
    scorer = ResponseScorer(VerifierConfig(data_sources=(SOURCE,)))

    async def score_all() -> list[Any]:
        return await asyncio.gather(*(scorer.score(SOURCE, response, "72", {}) for response in responses))

    results = asyncio.run(score_all())
    scorer.close()
    columns = [{"reward": result.reward, **result.columns, **result.values} for result in results]
    return {name: [row[name] for row in columns] for name in columns[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    difficulty = rng.beta(0.5, 0.5, (options.prompts, 1))
    correct = rng.random((options.prompts, options.samples)) < difficulty
    answers = np.where(correct, 72, rng.integers(60, 72, correct.shape)).ravel()
    infos = scored([f"#### {answer}" if answer > 60 else "no idea" for answer in answers])
    prompts = [f"uid{prompt}" for prompt in range(options.prompts)]
    samples = [SOURCE] * len(answers), list(np.repeat(prompts, options.samples))
    expected = {(SOURCE, prompt): options.samples for prompt in prompts}
    few = {name: infos[name] for name in ("reward", "acc")}

    update = trainer_base.PPOTrainer._val_metrics_update

    def of_verl() -> dict[str, Any]:
        with mock.patch.object(metric_utils, "bootstrap_metric", metric_utils.bootstrap_metric.__wrapped__):
            return process_validation_metrics(*samples, few, expected_acc_counts=expected)[SOURCE]

    pairs = [
        (seconds(of_verl), seconds(lambda: update(None, *samples, infos, [], expected))) for _ in range(options.rounds)
    ]
    verls, whole = (median(times) for times in zip(*pairs, strict=True))
    ours = median(seconds(lambda: validation_metrics(*samples, infos, expected)) for _ in range(7))
    total, own = len(update(None, *samples, infos, [], expected)), sum(map(len, of_verl().values()))
    print(
        f"{len(answers)} samples, seconds of CPU time, medians of {options.rounds}; verl with reward, acc: {verls:.2f}"
    )
    print(f"with {', '.join(infos)}, our metrics and the quick bootstrap: {whole:.3f}, {whole / verls:.2%} of it")
    print(f"of which pass@k, max@k and maj@k: {ours:.3f}")
    print(f"val-* metrics of the data source: {total}, {own} of them verl's")


if __name__ == "__main__":
    main()
