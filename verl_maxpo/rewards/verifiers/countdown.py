"""Countdown: an arithmetic expression that reaches the target with the given numbers, each used exactly once.

Rows are in the format of TinyZero (github.com/Jiayi-Pan/TinyZero): ``{"target": 24, "numbers": [4, 6, 1, 1]}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject
from verl_maxpo.rewards.verifiers.expressions import NotEvaluated, Unreadable, check, evaluate, numbers, plain_signs
from verl_maxpo.rewards.verifiers.extraction import after_thinking, last_boxed, last_tag, shorten

keeps_state = False  # one response does not change the verdict on the next

_EQUATION = re.compile(r"([^=]*)=\s*(-?[0-9]{1,30})\s*\.?\s*")


def verify(response: str, ground_truth: Any, extra_info: Mapping[str, Any], *, bare: bool = False) -> VerifierResult:
    r"""Evaluate the expression of a response exactly, with fractions.

    The expression has integers, ``+ - * /`` and parentheses, and stands in ``<answer>...</answer>`` or else in the last
    ``\boxed{...}``. ``= target`` may follow it; another value there makes it wrong.

    The ground truth is a mapping with ``target`` and ``numbers``, or the same as JSON. With ``bare`` the whole response
    is the expression.

    Returns:
        The result; ``format_ok`` says that it is an expression of the given numbers.

    Raises:
        ValueError: The ground truth is ill-formed.
    """
    target, given = _problem(ground_truth)
    answer = response if bare else _answer(after_thinking(response))
    if answer is None:
        return reject(Status.NO_ANSWER, "no expression in <answer> or \\boxed")
    answer = plain_signs(answer).strip()
    equation = _EQUATION.fullmatch(answer)
    expression, claimed = (equation[1], int(equation[2])) if equation else (answer, target)
    try:
        tree = check(expression)
    except NotEvaluated as error:
        return reject(error.status, str(error), shorten(answer))
    text = "".join(expression.split())
    if sorted(numbers(tree)) != given:
        return accept(text, correct=False, format_ok=False)
    with suppress(Unreadable):  # division by zero
        return accept(text, correct=evaluate(tree) == target == claimed)
    return accept(text, correct=False)


def examples(ground_truth: Any, extra_info: Mapping[str, Any], *, bare: bool = False) -> tuple[str | None, str]:
    """Return the row's ``solution`` if it has one, and a wrong response: the target itself."""
    target, _ = _problem(ground_truth)
    solution = extra_info.get("solution")
    form = "{}" if bare else "<answer>{}</answer>"
    return None if solution is None else form.format(solution), form.format(target)


def _answer(response: str) -> str | None:
    tagged = last_tag(response, "answer")
    return last_boxed(response) if tagged is None else last_boxed(tagged) or tagged


def _problem(ground_truth: Any) -> tuple[int, list[int]]:
    try:
        problem = json.loads(ground_truth) if isinstance(ground_truth, str) else ground_truth
        return _integer(problem["target"]), sorted(_integer(number) for number in problem["numbers"])
    except (ValueError, TypeError, KeyError, IndexError) as error:
        expected = '{"target": 24, "numbers": [4, 6, 1, 1]}'
        raise ValueError(f"ground_truth must be like {expected}, got {shorten(repr(ground_truth))}") from error


def _integer(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError(value)
    return int(value)
