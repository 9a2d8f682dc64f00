"""Any task of reasoning-gym (github.com/open-thought/reasoning-gym), scored by the task's own scorer.

A row's ``extra_info`` has the name of the ``task`` and the ``entry`` that reasoning-gym made, as a Python literal
(:func:`.entry_to_text`): some scorers compare tuples, which JSON turns into lists. The answer is the text in the last
``<answer>...</answer>``, and ``correct`` means that the scorer gives it 1.

``docs/reasoning_gym.md`` says why scorers need :data:`GUARDS` and :data:`SOLVED`, why wrong answers score 0 unless the
route has ``partial: true``, and what stays weak.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import reasoning_gym
from reasoning_gym.factory import DATASETS

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.expressions import (
    Forbidden,
    Grammar,
    NotEvaluated,
    check,
    check_literal,
    evaluate,
    numbers,
)
from verl_maxpo.rewards.verifiers.extraction import last_tag, shorten

MAX_LENGTH = 20_000

keeps_state = False  # one response does not change the verdict on the next

# Tasks whose entries may have the answer None: many answers are right and none was computed.
WITHOUT_GOLD = frozenset({"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"})

# Tasks whose scorers evaluate text of the entry, which is trusted, but none of the answer.
EVALUATE_ENTRY_ONLY = frozenset({"bitwise_arithmetic", "number_sorting"})

_FUNCTIONS = frozenset("sin cos tan sec csc cot asin acos atan sinh cosh tanh exp log ln sqrt Abs".split())  # noqa: SIM905
_PLAIN = re.compile(r"[\w\s.,]*")


class _Wrong(Exception):  # noqa: N818
    """The answer is wrong; no scorer is needed to tell."""


Guard = Callable[[str, Mapping[str, Any]], object]


def _arithmetic(answer: str, entry: Mapping[str, Any]) -> None:
    """Pass expressions that use exactly the problem's integers; scorers only search the text for them."""
    if sorted(numbers(check(answer, Grammar(max_length=300)))) != sorted(entry["metadata"]["numbers"]):
        raise _Wrong


def _integral(answer: str, entry: Mapping[str, Any]) -> None:
    names = frozenset({entry["metadata"]["variable"], "C", "E", "pi"})
    check(answer, Grammar(names, _FUNCTIONS, powers=100, decimals=True, max_length=500, max_depth=10))


def _literal(answer: str, entry: Mapping[str, Any]) -> None:
    """Pass the exact answers, which the scorer compares first, and literals of lists."""
    if answer.strip() in {exact.strip() for exact in (entry["answer"], *entry["metadata"].get("valid_answers", ()))}:
        return
    if _PLAIN.fullmatch(answer):  # a name would be looked up
        raise _Wrong
    check_literal(answer)


def _matching(pattern: str, why: str, max_length: int = 1000) -> Guard:
    compiled = re.compile(pattern)

    def guard(answer: str, entry: Mapping[str, Any]) -> None:
        if len(answer) > max_length or not compiled.fullmatch(answer):
            raise Forbidden(why)

    return guard


GUARDS: dict[str, Guard] = {
    **dict.fromkeys(("countdown", "puzzle24"), _arithmetic),  # parse_expr(answer)
    "polynomial_multiplication": lambda answer, entry: check(  # parse_expr(answer)
        answer, Grammar(frozenset(entry["metadata"]["variables"]), powers=100)
    ),
    **dict.fromkeys(("simple_integration", "intermediate_integration"), _integral),  # parse_expr(answer)
    **dict.fromkeys(("binary_matrix", "n_queens", "spiral_matrix", "string_insertion"), _literal),  # eval(answer)
    # Fraction("1e999999999") computes that power
    "coin_flip": _matching(r"[0-9.,/+\- ]*(?:[eE]-?[0-9]{1,2})?", "not a number"),
    # a number in the answer is a number of moves
    **dict.fromkeys(
        ("rubiks_cube", "rush_hour"), _matching(r"(?:\D|\d{1,3}(?!\d))*", "a number of more than three digits")
    ),
    # complex("nan") is as near to any number as can be
    "complex_arithmetic": _matching(r"[0-9ij.+\-()*\s]*", "not a complex number"),
    # its own parser takes the square of the length, and recurses
    "propositional_logic": _matching(r"(?s).*", "too long a statement", max_length=300),
}


def _equals_target(answer: str, entry: Mapping[str, Any]) -> bool:
    return evaluate(check(answer)) == int(entry["metadata"].get("target", 24))


def _is_near(answer: str, entry: Mapping[str, Any]) -> bool:
    """Within 0.1%: the scorer compares digits up to the end of the shorter number, of which 0 has one."""
    found, gold = Fraction(answer.replace(",", "")), Fraction(entry["answer"])
    return abs(found - gold) <= gold / 1000


def _is_gold(answer: str, entry: Mapping[str, Any]) -> bool:
    found, gold = ("".join(str(text).split()).lower() for text in (answer, entry["answer"]))
    return found == gold


def _has_the_same_numbers(answer: str, entry: Mapping[str, Any]) -> bool:
    found, gold = (json.loads(text.replace("'", '"')) for text in (answer, entry["answer"]))
    return [*map(float, found)] == [*map(float, gold)]


#: What a right answer needs besides a score of 1.
SOLVED: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
    **dict.fromkeys(("countdown", "puzzle24"), _equals_target),
    "coin_flip": _is_near,
    "figlet_font": _is_gold,
    "game_of_life_halting": _is_gold,
    "number_sorting": _has_the_same_numbers,
}


def verify(
    response: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any],
    *,
    answer_tag: str = "answer",
    partial: bool = False,
) -> VerifierResult:
    """Score a response with the scorer of its task.

    ``extra_info`` has ``task``, a name of reasoning-gym, and ``entry``, see :func:`.entry_to_text`, with the answer.
    The tag ``answer_tag`` holds that of the response. With ``partial`` wrong answers keep the scorer's partial scores.

    Returns:
        The result; ``format_ok`` says that the tag is there, the value ``raw_score`` is the scorer's.

    Raises:
        ValueError: The task is unknown, or the entry is ill-formed.
    """
    result = _verify(*_row(extra_info), response, answer_tag, partial)
    return replace(result, values={"raw_score": result.score, **result.values})


def _verify(task: str, entry: dict[str, Any], response: str, answer_tag: str, partial: bool) -> VerifierResult:
    answer = last_tag(response, answer_tag)
    if answer is None:
        return reject(Status.NO_ANSWER, f"no <{answer_tag}>...</{answer_tag}>")
    if len(answer) > MAX_LENGTH:
        return reject(Status.REFUSED, f"an answer of more than {MAX_LENGTH} characters", format_ok=True)
    try:
        if task in GUARDS:
            GUARDS[task](answer, entry)
    except _Wrong:
        return accept(answer, correct=False)
    except NotEvaluated as error:
        return reject(error.status, str(error), shorten(answer), format_ok=True)
    return _score(task, answer, entry, partial)


def examples(
    ground_truth: Any, extra_info: Mapping[str, Any], *, answer_tag: str = "answer", partial: bool = False
) -> tuple[str | None, str]:
    """Return a right response, None for an entry :data:`WITHOUT_GOLD`, and a wrong one."""
    gold = _row(extra_info)[1]["answer"]
    right = None if gold is None else f"<{answer_tag}>{gold}</{answer_tag}>"
    return right, f"<{answer_tag}>no answer</{answer_tag}>"


def _score(task: str, answer: str, entry: dict[str, Any], partial: bool) -> VerifierResult:
    try:
        score = float(_scorer(task)(answer, deepcopy(entry)))  # knight_swap writes into its entry
    except MemoryError:
        raise
    except Exception as error:  # whatever a scorer raises for an answer that it does not expect
        try:
            _scorer(task)(entry["answer"], deepcopy(entry))
        except Exception:
            raise ValueError(f"the entry is not one of the task {task!r}: its scorer raised {error!r}") from error
        return reject(Status.UNPARSEABLE, f"the scorer raised {type(error).__name__}", shorten(answer), format_ok=True)
    if not 0 <= score <= 1:
        return reject(Status.UNPARSEABLE, f"the scorer gave {score}", shorten(answer), format_ok=True)
    correct = score == 1 and (task not in SOLVED or SOLVED[task](answer, entry))
    kept = score if partial and score < 1 else float(correct)
    return replace(accept(answer, correct=correct, score=kept), values={"raw_score": score})


_scorer = lru_cache(maxsize=256)(reasoning_gym.get_score_answer_fn)


def _row(extra_info: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    task, text = extra_info.get("task"), extra_info.get("entry")
    if not isinstance(text, str):
        raise ValueError(f"extra_info['entry'] must be the text that entry_to_text makes, got {type(text).__name__}")
    entry = entry_from_text(text)
    if task == "composite":
        task = entry["metadata"].get("source_dataset")
    if not isinstance(task, str) or task not in DATASETS:
        raise ValueError(
            f"extra_info['task'] must be a task of reasoning-gym {reasoning_gym.__version__}, got {task!r}"
        )
    return task, entry


@lru_cache(maxsize=1024)
def entry_from_text(text: str) -> dict[str, Any]:
    """Read what :func:`.entry_to_text` wrote. The result is shared: do not change it.

    Raises:
        ValueError: It is not a literal of a mapping with ``question``, ``answer`` and ``metadata``.
    """
    try:
        entry = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(f"the entry must be a Python literal, got {shorten(text)!r}") from error
    if not isinstance(entry, dict) or not {"question", "answer", "metadata"} <= entry.keys():
        raise ValueError(f"the entry must have question, answer and metadata, got {shorten(text)!r}")
    return entry
