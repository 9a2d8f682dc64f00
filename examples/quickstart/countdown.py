"""The tasks of the quickstart, Countdown with four digits; their rewards come from the verifier ``countdown``.

``countdown``: the prompt is four digits in ascending order and a two-digit target, ``4889:21=``. The answer is an
arithmetic expression that uses each digit once, with ``+ - *`` in their usual precedence and no parentheses, such as
``8-4+8+9``. There are 8,127 solvable problems; 2.8% of random valid expressions are right.

``hidden_digit``: the prompt hides the last digit of the target, ``4889:2?=``. The target is one of the solvable ones of
that decade (at least four): the smallest with a weight of 1, the next 1/2, then 1/4, ... It stands for every task whose
checker knows more than the prompt says, such as hidden unit tests or an ambiguous question: one guess is not enough.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from functools import cache
from typing import NamedTuple

DIGITS = 4
TARGETS = range(10, 100)
TASKS = ("countdown", "hidden_digit")
FEWEST_TARGETS = 4  # of a prompt that hides a digit


class Problem(NamedTuple):
    """Four digits in ascending order and the number to make of them, whose last digit the prompt may hide."""

    digits: str
    target: int
    hidden: bool = False

    @property
    def prompt(self) -> str:
        """The text that the model is given."""
        return f"{self.digits}:{self.target // 10}?=" if self.hidden else f"{self.digits}:{self.target}="

    @property
    def ground_truth(self) -> str:
        """What the verifier ``countdown`` wants."""
        return json.dumps({"target": self.target, "numbers": [int(digit) for digit in self.digits]})

    @property
    def solution(self) -> str:
        """One of the right answers."""
        return next(text for text, value in expressions(self.digits).items() if value == self.target)


#: The problems that one prompt may stand for, the likeliest first.
Question = tuple[Problem, ...]


def evaluate(expression: str) -> int:
    """Return the value of a valid expression."""
    total = 0
    for sign, term in re.findall(r"([+-]?)([^+-]+)", expression):
        product = 1
        for factor in term.split("*"):
            product *= int(factor)
        total += -product if sign == "-" else product
    return total


@cache
def expressions(digits: str) -> dict[str, int]:
    """Return every valid expression of the digits with its value."""
    operators = list(itertools.product("+-*", repeat=DIGITS - 1))
    found = {}
    for order in sorted(set(itertools.permutations(digits))):
        for operator in operators:
            expression = order[0] + "".join(o + d for o, d in zip(operator, order[1:], strict=True))
            found[expression] = evaluate(expression)
    return found


def problems(held_out: int = 300, seed: int = 0) -> tuple[list[Problem], list[Problem]]:
    """Return every solvable problem, shuffled, as a training and a held-out part.

    Args:
        held_out: Size of the held-out part.
        seed: Seed of the split.
    """
    solvable = []
    for digits in itertools.combinations_with_replacement("123456789", DIGITS):
        values = set(expressions("".join(digits)).values())
        solvable += [Problem("".join(digits), target) for target in TARGETS if target in values]
    random.Random(seed).shuffle(solvable)
    return solvable[held_out:], solvable[:held_out]


def questions(task: str = "countdown", held_out: int = 300, seed: int = 0) -> tuple[list[Question], ...]:
    """Return every prompt of a task with the problems it may stand for, as a training and a held-out part.

    Args:
        task: One of :data:`TASKS`.
        held_out: Size of the held-out part, in prompts.
        seed: Seed of the split.
    """
    if task == "countdown":
        return tuple([(problem,) for problem in part] for part in problems(held_out, seed))
    found: list[Question] = []
    for digits in itertools.combinations_with_replacement("123456789", DIGITS):
        values = set(expressions("".join(digits)).values())
        for decade in range(TARGETS.start, TARGETS.stop, 10):
            targets = [target for target in range(decade, decade + 10) if target in values]
            if len(targets) >= FEWEST_TARGETS:
                found.append(tuple(Problem("".join(digits), target, hidden=True) for target in targets))
    random.Random(seed).shuffle(found)
    return found[held_out:], found[:held_out]


def likelihoods(question: Question) -> list[float]:
    """Return how likely each problem of a question is: halved from one to the next."""
    weights = [0.5**rank for rank in range(len(question))]
    return [weight / sum(weights) for weight in weights]


def draw_problem(question: Question, rng: random.Random) -> Problem:
    """Draw what a prompt stands for this time."""
    return rng.choices(question, likelihoods(question))[0]
