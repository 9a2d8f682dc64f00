"""Every task of reasoning-gym by its own scorer, and no scorer that evaluates an answer without a guard."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections import OrderedDict
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st
from reasoning_gym.factory import DATASETS
from support import gym_audit
from support.hostile import ENTRIES, EVALUATING

from verl_maxpo.data.entries import entry_to_text
from verl_maxpo.rewards import Status
from verl_maxpo.rewards.verifiers.reasoning_gym import (
    EVALUATE_ENTRY_ONLY,
    GUARDS,
    WITHOUT_GOLD,
    entry_from_text,
    verify,
)

SLOW_TO_MAKE = {"knight_swap", "arc_agi", "codeio", "futoshiki", "sudoku", "zebra_puzzles"}
DANGEROUS = {"eval", "exec", "parse_expr", "sympify", "simplify", "nsimplify", "lambdify", "interpret", "Fraction"}


def _data_set(task: str, size: int = 1) -> Any:
    if task == "composite":
        spec = reasoning_gym.composite.DatasetSpec(name="gcd", weight=1, config={})
        return reasoning_gym.create_dataset(task, size=size, seed=7, datasets=[spec])
    return reasoning_gym.create_dataset(task, size=size, seed=7)


def _verify(task: str, entry: Any, answer: str) -> Any:
    return verify(f"Well. <answer>{answer}</answer>", "", {"task": task, "entry": entry_to_text(entry)})


def _perturbed(answer: str) -> list[str]:
    return [answer + "1", answer[1:], answer[::-1], "0", "1 2", "no", ""]


@pytest.mark.parametrize(
    "task", [pytest.param(t, marks=[pytest.mark.slow] if t in SLOW_TO_MAKE else []) for t in sorted(DATASETS)]
)
def test_agreement_with_the_own_scorer(task: str) -> None:
    data = _data_set(task)
    entry = data[0]
    if entry["answer"] is None:
        assert task in WITHOUT_GOLD
    else:
        result = _verify(task, entry, entry["answer"])
        assert (result.score, result.correct, result.status, result.format_ok) == (1, True, Status.OK, True)
    for answer in _perturbed(entry["answer"] or "P"):
        result = _verify(task, entry, answer)
        raw_score = result.values["raw_score"]
        if result.status is Status.OK and not (task in GUARDS and raw_score == 0):  # the guard knew
            assert raw_score == data.score_answer(answer.strip(), entry)
            assert result.score == float(result.correct)
            assert not result.correct or raw_score == 1
        elif result.status is Status.OK:
            assert not result.correct
        else:
            assert result.status in ((Status.UNPARSEABLE, Status.REFUSED) if task in GUARDS else (Status.UNPARSEABLE,))
            assert not result.correct


def _sources(task: str) -> dict[str, str]:
    """Return the source of a task's scorer and of all that it calls within reasoning-gym."""
    kind = DATASETS[task][0]
    found: dict[str, str] = {}
    waiting: list[Any] = [kind.score_answer]
    while waiting:
        function = waiting.pop()
        if function.__qualname__ in found:
            continue
        found[function.__qualname__] = textwrap.dedent(inspect.getsource(function))
        names = _names(found[function.__qualname__])
        module = vars(sys.modules[function.__module__])
        for name in names:
            called = getattr(kind, name, module.get(name))
            if str(getattr(called, "__module__", "")).startswith("reasoning_gym") and hasattr(called, "__qualname__"):
                waiting.append(called)
    return found


def _names(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def test_no_scorer_evaluates_an_answer_without_a_guard() -> None:
    evaluating = {task for task in DATASETS if any(_names(s) & DANGEROUS for s in _sources(task).values())}
    assert set(EVALUATING) <= evaluating  # the search finds what is known
    assert evaluating <= GUARDS.keys() | EVALUATE_ENTRY_ONLY
    assert evaluating >= EVALUATE_ENTRY_ONLY
    assert GUARDS.keys() <= DATASETS.keys()


@pytest.mark.parametrize("task", sorted(EVALUATE_ENTRY_ONLY))
def test_scorers_that_evaluate_the_entry_do_not_evaluate_the_answer(task: str) -> None:
    evaluated = [
        ast.unparse(call.args[0])
        for source in _sources(task).values()
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "eval"
    ]
    assert evaluated in (["problem"], ["entry['answer']"])


def test_partial_scores_are_kept_where_the_route_says_so() -> None:
    row = {"task": "polynomial_equations", "entry": entry_to_text({"question": "", **ENTRIES["polynomial_equations"]})}
    wrong = "<answer>-1.4, 2.0</answer>"
    kept, dropped = verify(wrong, "", row, partial=True), verify(wrong, "", row)
    assert 0 < kept.score == kept.values["raw_score"] == dropped.values["raw_score"] < 1
    assert (dropped.score, dropped.correct, kept.correct) == (0, False, False)
    unsolved = {"task": "coin_flip", "entry": entry_to_text({"question": "", **ENTRIES["coin_flip"]})}
    assert verify("<answer>0</answer>", "", unsolved, partial=True).score == 0  # the scorer says 1


@pytest.mark.slow
def test_what_counts_as_right_without_being_the_gold_answer_is_listed() -> None:
    documentation = (Path(__file__).parents[2] / "docs/reasoning_gym.md").read_text()
    assert gym_audit.table() in documentation


@settings(max_examples=60, deadline=None)
@given(task=st.sampled_from(sorted(ENTRIES)), answer=st.text(max_size=60))
def test_any_answer_has_a_result(task: str, answer: str) -> None:
    result = _verify(task, {"question": "", **ENTRIES[task]}, answer)
    assert 0 <= result.score <= 1
    assert result.correct == (result.score == 1)


@pytest.mark.parametrize("response", ["", "7", "<answer>7", "7</answer>", "</answer>7<answer>"])
def test_no_tag_is_no_answer(response: str) -> None:
    row = {"task": "chain_sum", "entry": entry_to_text({"question": "", **ENTRIES["chain_sum"]})}
    assert verify(response, "", row).status is Status.NO_ANSWER


def test_the_last_tag_counts_and_can_have_another_name() -> None:
    row = {"task": "chain_sum", "entry": entry_to_text({"question": "", **ENTRIES["chain_sum"]})}
    assert verify("<answer>1</answer> <answer> 1000\n</answer>", "", row).correct
    assert verify("<final>1000</final> <answer>1</answer>", "", row, answer_tag="final").correct


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"task": "chain_sum"}, "entry"),
        ({"task": "chain_sum", "entry": {"question": "", "answer": "", "metadata": {}}}, "got dict"),
        ({"task": "chain_sum", "entry": "__import__('os')"}, "literal"),
        ({"task": "chain_sum", "entry": "{}"}, "question, answer and metadata"),
        ({"task": "chain_summ", "entry": "{'question': '', 'answer': '', 'metadata': {}}"}, "chain_summ"),
        ({"entry": "{'question': '', 'answer': '', 'metadata': {}}"}, "None"),
        ({"task": "survo", "entry": "{'question': '', 'answer': '1', 'metadata': {}}"}, "survo"),
    ],
)
def test_ill_formed_rows_are_errors(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verify("<answer>1</answer>", "", row)


class Color(str, Enum):
    RED = "red"


def test_entries_become_plain_and_survive() -> None:
    entry = {
        "question": "",
        "answer": None,
        "metadata": OrderedDict(
            grid=((1, 2), (3,)), keys={1: "a"}, color=Color.RED, n=np.int64(3), a=np.arange(2), s=frozenset({1}),
            e=set(), day=date(2024, 2, 29), yes=True,
        ),
    }  # fmt: skip
    assert entry_from_text(entry_to_text(entry))["metadata"] == {
        "grid": ((1, 2), (3,)), "keys": {1: "a"}, "color": "red", "n": 3, "a": [0, 1], "s": {1}, "e": set(),
        "day": "2024-02-29", "yes": True,
    }  # fmt: skip


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), 1j, len])
def test_entries_that_do_not_survive_are_errors(value: object) -> None:
    with pytest.raises(ValueError, match="entry"):
        entry_to_text({"question": "", "answer": "", "metadata": value})


def test_a_shared_entry_is_not_changed() -> None:
    entry = {
        "question": "", "answer": "No",
        "metadata": {
            "is_possible": True, "board": {"A1": ["B3"], "B3": ["A1"]}, "pieces": {"A1": "w", "B3": None},
            "start_turn": "w", "solution": ["w,A1,B3"],
        },
    }  # fmt: skip
    text = entry_to_text(entry)
    verify('<answer>["w,A1,B3"]</answer>', "", {"task": "knight_swap", "entry": text})
    assert "board_states" not in entry_from_text(text)["metadata"]
