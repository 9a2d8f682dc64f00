"""Which words are the answer, and whether they are right: rates on the cases of ``answer_cases.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from verl_maxpo.rewards.registry import load_verifier

SAMPLE = Path(__file__).parents[1] / "samples" / "answer_cases.jsonl"
CASES = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


def is_missed(case: dict[str, Any]) -> bool:
    verify = load_verifier(case["verifier"])
    return verify(case["response"], case["gold"], {}, **case.get("options", {})).correct != case["correct"]


@pytest.fixture(scope="module")
def missed() -> list[int]:
    return [number for number, case in enumerate(CASES) if is_missed(case)]


def test_misses_are_those_that_the_sample_names(missed: list[int]) -> None:
    """A case with a ``miss`` is one that is left wrong, for the reason it gives."""
    assert missed == [number for number, case in enumerate(CASES) if "miss" in case]


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize(("correct", "most"), [(False, 0.02), (True, 0.08)])
def test_rates(missed: list[int], boxed: bool, correct: bool, most: float) -> None:
    """At most 2% of the wrong answers are paid and 8% of the right ones refused, with a box and without."""
    some = [
        number
        for number, case in enumerate(CASES)
        if ("box" in case["response"]) == boxed and case["correct"] == correct
    ]
    assert len(some) > 200
    assert len(set(missed) & set(some)) <= most * len(some)
