"""Which answers that are not the gold one count as right, by task of reasoning-gym.

    PYTHONPATH=tests python -m support.gym_audit

prints the table of docs/reasoning_gym.md.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import reasoning_gym
from reasoning_gym.factory import DATASETS

from verl_maxpo.data.entries import entry_to_text
from verl_maxpo.rewards.verifiers.reasoning_gym import verify

SEED, ENTRIES = 11, 12

#: They take minutes to make, or are only a mixture of the others.
LEFT_OUT = {"arc_agi", "codeio", "composite"}

CONSTANTS = (
    "0", "1", "-1", "2", "0.5", "1/2", "0/1", "1e0", "0,0", "0 0", "1 1 1", "nan", "inf", "None", "null", "True",
    "False", "yes", "no", "Yes", "No", "[]", "{}", "()", "[0]", "[[0]]", "[(0, 0)]", "A", "B", "C", "P", "a", "x", "L",
    "X", "-", "#", "*", "(", "()()", "{}{}", "\\", "empty", "error", "infeasible", "impossible", "Invalid", "heads",
    "east", "00:00:00", "2000-01-01",
)  # fmt: skip


def constants(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((f"`{answer}`", answer) for answer in CONSTANTS)


def from_question(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Quote the question, or a part of it."""
    lines = [line for line in entry["question"].splitlines() if line.strip()]
    yield "the question", entry["question"]
    yield from (("a line of the question", line) for line in lines[-4:])
    found = re.findall(r"-?\d+(?:\.\d+)?", entry["question"])
    yield from (("a number of the question", number) for number in found[:1] + found[-1:])
    yield "the numbers of the question", " ".join(found)
    yield "the numbers of the question", f"[{', '.join(found)}]"


def from_gold(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Hedge, and miss narrowly."""
    gold = entry["answer"]
    if gold is None:
        return
    yield "the gold answer and another", f"{gold} or 1"
    yield "the gold answer and another", f"{gold}, 1"
    if re.fullmatch(r"-?\d+(?:\.\d+)?", gold):
        yield "off by 1", str(float(gold) + 1)
        yield "off by 0.5%", str(float(gold) * 1.005)


def tricks(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the scorers' code invites."""
    metadata = entry["metadata"]
    if "premises" in metadata:
        yield from (("a premise, twice negated", f"¬¬{premise}") for premise in metadata["premises"])
    if isinstance(metadata.get("numbers"), list):
        numbers, target = metadata["numbers"], metadata.get("target", 24)
        spread = "+".join(map(str, numbers))
        digits = "_".join(str(target))
        for spelling in (f"{target}e0", digits, hex(target), bin(target), f"{target}.0"):
            yield "the target in another spelling", f"({spread})*0+{spelling}"
            yield "the target in another spelling", f"({spread})*0e1+{spelling}"
    sorted_numbers = metadata.get("sorted_numbers") or []
    yield "a list off by 1", str([str(float(number) + 1) for number in sorted_numbers])


def audit(task: str, size: int = ENTRIES) -> dict[str, float]:
    """Return the share of entries that a kind of answer solves, for the kinds that solve any."""
    data = reasoning_gym.create_dataset(task, size=size, seed=SEED)
    solved: Counter[str] = Counter()
    for entry in data:
        row = {"task": task, "entry": entry_to_text(entry)}
        answers = [pair for kind in (constants, from_question, from_gold, tricks) for pair in kind(entry)]
        right = {kind for kind, answer in answers if answer.strip() != entry["answer"] and _counts(answer, row)}
        solved.update(right)
    return {kind: count / size for kind, count in sorted(solved.items())}


def _counts(answer: str, row: Mapping[str, Any]) -> bool:
    return verify(f"<answer>{answer}</answer>", "", row).correct


def table() -> str:
    lines = ["| task | answer | counts as right |", "|---|---|---|"]
    for task in sorted(DATASETS.keys() - LEFT_OUT):
        lines += [f"| {task} | {kind} | {rate:.0%} |" for kind, rate in audit(task).items()]
    return "\n".join(lines)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    print(table())
