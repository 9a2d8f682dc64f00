"""Read expressions in a fixed small grammar, without evaluating anything but arithmetic.

Nothing here calls ``eval``, and a text that passes :func:`check` has no attribute, subscript, string, comprehension or
unknown name, so it is safe to pass to SymPy's ``parse_expr``, which calls ``eval``.
"""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from verl_maxpo.rewards.result import Status

MAX_DIGITS = 30
MAX_BITS = 100_000

_CHARACTERS = re.compile(r"[A-Za-z0-9_+\-*/(). ]*")
# Python reads 0x77, 1_1_9 and 0e1 as numbers; no problem writes numbers like that.
_SPELLINGS = re.compile(r"(?<![A-Za-z0-9_])[0-9][0-9.]*[A-Za-z_]")
_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")
_LITERAL = re.compile(r"(?:[\[\](),\s]|-?[0-9]|'[^'\\\n]*'|\"[^\"\\\n]*\")*")
# Other signs that models use for operators.
_SIGNS = str.maketrans("×·⋅∙•∗＊✕✖÷∕⁄／−–－\n\t", "*********////---  ")
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_DRESS = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[()\[\]]|\$")
_TIMES = re.compile(r"(?<=[0-9) ])[xX](?=[0-9( ])|\\(?:times|cdot)(?![A-Za-z])")


class NotEvaluated(ValueError):  # noqa: N818
    """A text is not evaluated; ``status`` is the status of the verdict."""

    status = Status.REFUSED


class Unreadable(NotEvaluated):
    """The text is not an expression."""

    status = Status.UNPARSEABLE


class Forbidden(NotEvaluated):
    """The text may be an expression, but not one that is allowed, or one that is too costly."""


@dataclass(frozen=True)
class Grammar:
    """What an expression may contain besides numbers, ``+ - * /`` and parentheses.

    Attributes:
        names: Variables and constants.
        functions: Functions of one argument.
        powers: The largest product of nested exponents; 1 allows no powers.
        decimals: Whether numbers may have a decimal point.
    """

    names: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    powers: int = 1
    decimals: bool = False
    max_length: int = 500
    max_depth: int = 20


ARITHMETIC = Grammar()


def check(text: str, grammar: Grammar = ARITHMETIC) -> ast.expr:
    """Read an expression.

    Raises:
        Unreadable: It is not an expression.
        Forbidden: It has something that the grammar does not allow.
    """
    if len(text) > grammar.max_length or depth(text) > grammar.max_depth:
        raise Forbidden(f"longer than {grammar.max_length} characters or nested deeper than {grammar.max_depth}")
    if not _CHARACTERS.fullmatch(text):
        raise Unreadable("characters that no expression of this task has")
    if _SPELLINGS.search(text):
        raise Forbidden("a number in a spelling of Python's")
    if _DIGITS.search(text):
        raise Forbidden(f"a number of more than {MAX_DIGITS} digits")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable("not an expression") from error
    try:
        _check_node(tree, grammar, grammar.powers)
    except RecursionError as error:
        raise Forbidden("nested too deeply") from error
    return tree


def _check_node(node: ast.expr, grammar: Grammar, powers: int) -> None:
    match node:
        case ast.Constant(value=int() as value) if type(value) is int:
            pass
        case ast.Constant(value=float() as value) if grammar.decimals and value <= 10.0**MAX_DIGITS:
            pass
        case ast.Name(id=name) if name in grammar.names:
            pass
        case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
            _check_node(node.operand, grammar, powers)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
            _check_node(node.left, grammar, powers)
            _check_node(node.right, grammar, powers)
        case ast.BinOp(op=ast.Pow()) if grammar.powers > 1:
            _check_power(node, grammar, powers)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in grammar.functions:
            _check_node(argument, grammar, powers)
        case _:
            raise Forbidden(f"{type(node).__name__} is not allowed here")


def _check_power(node: ast.BinOp, grammar: Grammar, powers: int) -> None:
    """Limit how large nested powers can grow. Exponents with a variable may have small numbers but no powers."""
    try:
        exponent = max(Fraction(1), abs(evaluate(node.right)))
    except Unreadable:
        _check_node(node.right, Grammar(grammar.names), 1)
        exponent = Fraction(max([1, *numbers(node.right)]))
    if exponent > powers:
        raise Forbidden(f"an exponent, or a product of nested ones, above {grammar.powers}")
    _check_node(node.left, grammar, int(powers // exponent))


def evaluate(node: ast.expr) -> Fraction:
    """Return the exact value of arithmetic with ``+ - * /`` and integer powers.

    Raises:
        Unreadable: It contains anything else, or divides by zero.
        Forbidden: A power has more than MAX_BITS bits.
    """
    match node:
        case ast.Constant(value=int() as value):
            return Fraction(value)
        case ast.UnaryOp(op=ast.UAdd()):
            return evaluate(node.operand)
        case ast.UnaryOp(op=ast.USub()):
            return -evaluate(node.operand)
        case ast.BinOp():
            return _operate(node)
    raise Unreadable(f"{type(node).__name__} is not arithmetic")


def _operate(node: ast.BinOp) -> Fraction:
    left, right = evaluate(node.left), evaluate(node.right)
    if operate := _OPERATORS.get(type(node.op)):
        return Fraction(operate(left, right))
    match node.op:
        case ast.Div() if right:
            return left / right
        case ast.Pow() if right.denominator == 1 and (left or right >= 0):
            if abs(right) * max(left.numerator.bit_length(), left.denominator.bit_length()) > MAX_BITS:
                raise Forbidden("too large a power")
            return Fraction(left ** int(right))
    raise Unreadable("division by zero or an operator that is not arithmetic")


def numbers(node: ast.expr) -> list[int]:
    """Return the integers in an expression."""
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and type(n.value) is int]


def check_literal(text: str) -> None:
    """Check that a text is a literal of lists, tuples, strings and integers.

    Raises:
        Unreadable: It is not.
        Forbidden: It is too long, or has characters that no such literal has.
    """
    if len(text) > 10_000 or not _LITERAL.fullmatch(text):
        raise Forbidden("longer than 10,000 characters, or not a literal of lists, strings and integers")
    try:
        ast.literal_eval(text.strip())
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise Unreadable("not a literal") from error


def plain_signs(text: str) -> str:
    r"""Return a text with the ASCII operators for ``× ÷ −`` and for LaTeX's ``\times``, ``\cdot`` and ``\div``."""
    return _TIMES.sub("*", _DRESS.sub("", text).replace("\\div", "/")).translate(_SIGNS)


def depth(text: str) -> int:
    """Return how deeply the brackets of a text are nested."""
    steps = (1 if character in "([{" else -1 for character in text if character in "()[]{}")
    return max(accumulate(steps), default=0)
