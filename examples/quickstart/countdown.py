"""The task of the quickstart, Countdown with four digits; its rewards come from the verifier ``countdown``.

Prompt: four digits in ascending order and a two-digit target, ``4889:21=``. Answer: an arithmetic expression that uses
each digit once, with ``+ - *`` in their usual precedence and no parentheses, such as ``8-4+8+9``. There are 8,127
solvable problems; 2.8% of random valid expressions are right.
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


class Problem(NamedTuple):
    """Four digits in ascending order and the number to make of them."""

    digits: str
    target: int

    @property
    def prompt(self) -> str:
        """The text that the model is given."""
        return f"{self.digits}:{self.target}="

    @property
    def ground_truth(self) -> str:
        """What the verifier ``countdown`` wants."""
        return json.dumps({"target": self.target, "numbers": [int(digit) for digit in self.digits]})

    @property
    def solution(self) -> str:
        """One of the right answers."""
        return next(text for text, value in expressions(self.digits).items() if value == self.target)


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
