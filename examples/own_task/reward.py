"""1 if the last number of a response is the answer. verl calls a `custom_reward_function` in the same way."""

import re
from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any]) -> float:
    """Score one response; `extra_info` has the other columns of its row."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", solution_str.replace(",", ""))
    return float(bool(numbers) and float(numbers[-1]) == float(ground_truth))


def examples(ground_truth: str, extra_info: dict[str, Any]) -> tuple[str, str]:
    """Give `verl-maxpo check` a right response and a wrong one to try this reward with."""
    return f"The answer is {ground_truth}.", "I do not know."
