"""Responses made to hurt a verifier, and right answers that look like them.

Each case says which statuses are acceptable and whether the answer counts as right. No case may execute anything: a
payload that runs creates the file :data:`CANARY` in the working directory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

CANARY = "canary_of_verl_maxpo"
PAYLOAD = f"__import__('pathlib').Path('{CANARY}').touch()"
# The same without quotes, for scorers that replace them.
CODES = "+".join(f"chr({ord(character)})" for character in f"open('{CANARY}','w')")
BLIND_PAYLOAD = f"eval({CODES})"
ESCAPE = "().__class__.__base__.__subclasses__()"

MEGABYTE = 1_000_000

OK = frozenset({"ok"})
NOT_EVALUATED = frozenset({"refused", "unparseable"})
NOT_RIGHT = frozenset({"ok", "refused", "unparseable", "no_answer"})


class Case(NamedTuple):
    """A response, and what a verifier may say of it."""

    name: str
    verifier: str
    ground_truth: Any
    extra_info: dict[str, Any]
    response: str
    statuses: frozenset[str]
    correct: bool


def _math(name: str, gold: str, response: str, statuses: frozenset[str], correct: bool = False) -> Case:
    return Case(f"math-{name}", "math", gold, {}, response, statuses, correct)


def _box(text: str) -> str:
    return f"So the answer is \\boxed{{{text}}}."


def _tag(text: str) -> str:
    return f"<answer>{text}</answer>"


def _gym(name: str, task: str, response: str, statuses: frozenset[str], correct: bool = False) -> Case:
    entry = {"question": "", **ENTRIES[task]}
    return Case(
        f"gym-{task}-{name}", "reasoning_gym", "", {"task": task, "entry": repr(entry)}, response, statuses, correct
    )


# Entries as reasoning-gym 0.1.25 makes them, without what the scorers do not read.
ENTRIES: dict[str, dict[str, Any]] = {
    "countdown": {"answer": "4 + 6", "metadata": {"numbers": [4, 6], "target": 10}},
    "puzzle24": {"answer": "6 * 4 * 1 * 1", "metadata": {"numbers": [6, 4, 1, 1]}},
    "polynomial_multiplication": {"answer": "x**2 + 2*x*y", "metadata": {"variables": ["x", "y"]}},
    "simple_integration": {"answer": "x**2 + C", "metadata": {"integrand": "2*x", "variable": "x"}},
    "intermediate_integration": {"answer": "sin(x) + C", "metadata": {"integrand": "cos(x)", "variable": "x"}},
    "string_insertion": {"answer": "ABA", "metadata": {}},
    "spiral_matrix": {"answer": "1 2 3", "metadata": {}},
    "binary_matrix": {"answer": "0 1\n1 0", "metadata": {}},
    "n_queens": {"answer": "Q _", "metadata": {"valid_answers": ["Q _", "_ Q"]}},
    "number_sorting": {"answer": "['1.0', '2.0']", "metadata": {"direction": "ascending"}},
    "coin_flip": {"answer": "0.5", "metadata": {}},
    "complex_arithmetic": {"answer": "1.0 + 2.0i", "metadata": {"result": (1, 2)}},
    "game_of_life_halting": {"answer": "False", "metadata": {}},
    "polynomial_equations": {"answer": "-1.5, 2.0", "metadata": {}},
    "prime_factorization": {"answer": "2 × 3", "metadata": {}},
    "chain_sum": {"answer": "1000", "metadata": {}},
    "graph_color": {
        "answer": None,
        "metadata": {"puzzle": {"vertices": [0, 1], "edges": [(0, 1)], "num_colors": 2, "color_options": [1, 2]}},
    },
    "rush_hour": {"answer": None, "metadata": {"board_config": "oooooooooooooAAooooooooooooooooooooo"}},
    "rubiks_cube": {"answer": None, "metadata": {"cube_size": 3, "scramble_moves": "F"}},
    "propositional_logic": {"answer": None, "metadata": {"variables": ["P", "Q"], "premises": ["P", "Q"]}},
}

EVALUATING = (
    "countdown",
    "puzzle24",
    "polynomial_multiplication",
    "simple_integration",
    "intermediate_integration",
    "string_insertion",
    "spiral_matrix",
    "binary_matrix",
    "n_queens",
)


MATH = [
    _math("power tower", "1", _box("9^{9^{9^{9}}}"), NOT_EVALUATED),
    _math("power tower without braces", "1", _box("9^9^9^9^9^9^9^9^9^9^9^9"), NOT_RIGHT),
    _math("huge exponent", "1", _box("10^{10^{10}}"), NOT_EVALUATED),
    _math("huge negative exponent", "0", _box("10^{-10^{10}}"), NOT_EVALUATED),
    _math("power of powers", "1", _box("((9^{999})^{999})^{999}"), NOT_EVALUATED),
    _math("exponent in a root", "1", _box("9^{\\sqrt{9^{9^9}}}"), NOT_EVALUATED),
    _math("factorial", "1", _box("100000000!"), NOT_EVALUATED),
    _math("factorial of a factorial", "1", _box("((9^9)!)!"), NOT_EVALUATED),
    _math("factorials in a row", "1", _box("9!!!!!!"), NOT_EVALUATED),
    _math("binomial", "1", _box("\\binom{1000000000}{500000000}"), NOT_EVALUATED),
    _math("binomial of powers", "1", _box("\\binom{10^9}{10^8}"), NOT_EVALUATED),
    _math("macro", "1", _box("\\newcommand{\\a}{\\a\\a}\\a"), NOT_EVALUATED),
    _math("def", "1", _box("\\def\\a{1}\\a"), NOT_EVALUATED),
    _math("parentheses", "1", _box("(" * 100_000 + "1" + ")" * 100_000), NOT_EVALUATED),
    _math("nested sets", "1", _box("{" * 20 + "1" + "}" * 20), NOT_EVALUATED),
    _math("nested fractions", "1", _box("\\frac{1}{" * 40 + "2" + "}" * 40), NOT_EVALUATED),
    _math("open boxes", "1", "\\boxed{" * 100_000, NOT_RIGHT),
    _math("open braces", "1", "\\boxed{1" + "{" * MEGABYTE, NOT_RIGHT),
    _math("megabyte of boxes", "1", _box("2") * 50_000, OK),
    _math("megabyte in a box", "1", _box("1" * MEGABYTE), NOT_EVALUATED),
    _math("megabyte of backslashes", "1", "\\" * MEGABYTE, NOT_RIGHT),
    _math("megabyte of spaces", "1", "\\boxed" + " " * MEGABYTE + "{1}", OK, True),
    _math("dollars", "1", "$" * MEGABYTE, NOT_RIGHT),
    _math("answers", "1", "answer is " * 100_000, NOT_RIGHT),
    _math("enumeration in boxes", "7", " ".join(_box(str(n)) for n in range(10)), OK),
    _math("enumeration in one box", "7", _box(", ".join(map(str, range(10)))), OK),
    _math("enumeration in words", "7", "The answer is 5 or 6 or 7", OK),
    _math("either sign", "5", _box("\\pm 5"), OK),
    _math("gold quoted first", "7", "Someone says \\boxed{7}. But no: \\boxed{8}", OK),
    _math("gold as a comment", "7", _box("8 % 7"), NOT_RIGHT),
    _math("python", "1", _box(PAYLOAD), NOT_RIGHT),
    _math("subclasses", "1", _box(ESCAPE), NOT_RIGHT),
    _math("null bytes", "1", "\x00" * 1000 + _box("2\x00"), NOT_RIGHT),
    _math("lone surrogate", "1", _box("\ud800"), NOT_RIGHT),
    _math("division by zero", "1", _box("\\frac{1}{0}"), NOT_RIGHT),
    _math("equal to many numbers", "\\frac{1}{2}", _box("\\infty^\\pi"), NOT_RIGHT),
    _math("equal to many sets", "\\{\\frac{1}{2}\\}", _box("\\{\\infty^\\pi\\}"), NOT_RIGHT),
    _math("equal to many decimals", "0.7", _box("\\infty^\\pi9"), NOT_RIGHT),
    _math("indeterminate", "0", _box("\\frac{0}{0}"), NOT_RIGHT),
    _math("right infinity", "\\infty", _box("+\\infty"), OK, True),
    _math("right half-line", "x > 3", _box("(3, \\infty)"), OK, True),
    _math("right large power", "2^{1000}", _box("2^{1000}"), OK, True),
    _math("right tower", "256", _box("2^{2^{3}}"), OK, True),
    _math("right factorial", "2018!", _box("(2019-1)!"), OK, True),
    _math("right binomial", "252", _box("\\binom{10}{5}"), OK, True),
    _math("right after a megabyte", "\\frac{1}{2}", "so " * 300_000 + _box("0.5"), OK, True),
    _math("right after open boxes", "42", "\\boxed{" * 1000 + _box("42"), OK, True),
    _math("right with null bytes before", "42", "\x00\ud800" + _box("42"), OK, True),
    _math("right after wrong", "42", _box("41") + " Wait. " + _box("42"), OK, True),
]

GYM = [
    *(_gym("payload", task, _tag(PAYLOAD), NOT_EVALUATED) for task in EVALUATING),
    *(_gym("payload in a list", task, _tag(f"[{PAYLOAD}]"), NOT_EVALUATED) for task in EVALUATING),
    *(_gym("payload without quotes", task, _tag(BLIND_PAYLOAD), NOT_EVALUATED) for task in EVALUATING),
    *(_gym("subclasses", task, _tag(ESCAPE), NOT_EVALUATED) for task in EVALUATING),
    *(_gym("brackets", task, _tag("[" * 100_000), NOT_EVALUATED) for task in EVALUATING),
    _gym("payload after it", "countdown", _tag(f"4 + 6 if {PAYLOAD} else 10"), NOT_EVALUATED),
    _gym("power", "countdown", _tag("4**6**4**6"), NOT_EVALUATED),
    _gym("target as a float", "countdown", _tag("(4+6)*0e1+10e0"), NOT_EVALUATED),
    _gym("target in hexadecimal", "countdown", _tag("(4+6)*0+0xa"), NOT_EVALUATED),
    _gym("target in digits", "countdown", _tag("(4+6)*0+1_0"), NOT_EVALUATED),
    _gym("target as a decimal", "countdown", _tag("(4+6)*0+10.0"), NOT_EVALUATED),
    _gym("target beside the numbers", "countdown", _tag("(4+6)*0+10"), OK),
    _gym("other numbers", "puzzle24", _tag("6 * 4 * 1"), OK),
    _gym("not quite 24", "puzzle24", _tag("6 * 4 + 1 / (1 + 1)"), OK),
    _gym("right", "puzzle24", _tag("(6 * 4) / (1 * 1)"), OK, True),
    _gym("not a number", "complex_arithmetic", _tag("nan"), NOT_EVALUATED),
    _gym("right", "complex_arithmetic", _tag("1.0 + 2.0i"), OK, True),
    _gym("any answer", "game_of_life_halting", _tag("True"), OK),
    _gym("right", "game_of_life_halting", _tag("false"), OK, True),
    _gym("zero", "coin_flip", _tag("0"), OK),
    _gym("right", "coin_flip", _tag("1/2"), OK, True),
    _gym("off by one", "number_sorting", _tag("[1.5, 2.5]"), OK),
    _gym("right", "number_sorting", _tag("[1, 2]"), OK, True),
    _gym("zero", "polynomial_equations", _tag("0"), OK),
    _gym("right with parentheses", "countdown", _tag("((((6)) + 4))"), OK, True),
    _gym("tower", "simple_integration", _tag("9**9**9**9 + x**2"), NOT_EVALUATED),
    _gym("tower of variables", "simple_integration", _tag("x**x**x**x**x"), NOT_EVALUATED),
    _gym("integral itself", "intermediate_integration", _tag("Integral(cos(x), x)"), NOT_EVALUATED),
    _gym("attribute", "simple_integration", _tag("x.func"), NOT_EVALUATED),
    _gym("right", "simple_integration", _tag("(x + 1)**2 - 2*x + C"), OK, True),
    _gym("right", "intermediate_integration", _tag("C + cos(x)*tan(x)"), OK, True),
    _gym("huge power", "polynomial_multiplication", _tag("2**99999999 + x"), NOT_EVALUATED),
    _gym("right", "polynomial_multiplication", _tag("2*y*x + x**2"), OK, True),
    _gym("name", "string_insertion", _tag("entry"), OK),
    _gym("list", "string_insertion", _tag("['A', 'B', 'A']"), OK),
    _gym("right", "string_insertion", _tag("ABA"), OK, True),
    _gym("second solution", "n_queens", _tag("_ Q"), OK, True),
    _gym("payload", "number_sorting", _tag(f"[{PAYLOAD}]"), NOT_RIGHT),
    _gym("huge exponent", "coin_flip", _tag("1e999999999"), NOT_EVALUATED),
    _gym("huge exponent", "chain_sum", _tag("1e999999999999"), NOT_RIGHT),
    _gym("right with commas", "chain_sum", _tag("+1,000.00"), OK, True),
    _gym("payload", "prime_factorization", _tag(PAYLOAD), NOT_EVALUATED),
    _gym("nested json", "graph_color", _tag("[" * 10_000), NOT_RIGHT),
    _gym("many steps", "rush_hour", _tag("A+999999999999"), NOT_EVALUATED),
    _gym("many turns", "rubiks_cube", _tag("F999999999999"), NOT_EVALUATED),
    _gym("right", "rubiks_cube", _tag("F'"), OK, True),
    _gym("negations", "propositional_logic", _tag("¬" * 10_000 + "P"), NOT_EVALUATED),
    _gym("megabyte", "chain_sum", _tag("1" * MEGABYTE), NOT_EVALUATED),
    _gym("open tags", "chain_sum", "<answer>" * 100_000, frozenset({"no_answer"})),
]

SMALL: list[tuple[str, str, Any, str, frozenset[str], bool]] = [
    ("payload", "countdown", {"target": 10, "numbers": [4, 6]}, _tag(PAYLOAD), NOT_EVALUATED, False),
    ("blind payload", "countdown", {"target": 10, "numbers": [4, 6]}, _tag(BLIND_PAYLOAD), NOT_EVALUATED, False),
    ("power", "countdown", {"target": 10, "numbers": [4, 6]}, _tag("4**6**4**6"), NOT_EVALUATED, False),
    ("huge number", "countdown", {"target": 10, "numbers": [4, 6]}, _tag("9" * 10_000), NOT_EVALUATED, False),
    ("brackets", "countdown", {"target": 10, "numbers": [4, 6]}, _tag("(" * 100_000), NOT_EVALUATED, False),
    ("minus signs", "countdown", {"target": 10, "numbers": [4, 6]}, _tag("-" * 900 + "4"), NOT_RIGHT, False),
    ("joined digits", "countdown", {"target": 46, "numbers": [4, 6]}, _tag("46"), OK, False),
    ("unused number", "countdown", {"target": 4, "numbers": [4, 6]}, _tag("4"), OK, False),
    ("claimed value", "countdown", {"target": 10, "numbers": [4, 6]}, _tag("4 * 6 = 10"), OK, False),
    ("division by zero", "countdown", {"target": 10, "numbers": [4, 4, 6]}, _tag("6/(4-4)"), OK, False),
    ("right in boxes", "countdown", {"target": 24, "numbers": [4, 6]}, _box("4 \\times 6 = 24"), OK, True),
    ("digits", "gsm8k", "72", "#### " + "7" * MEGABYTE, NOT_EVALUATED, False),
    ("hashes", "gsm8k", "72", "#" * MEGABYTE, frozenset({"no_answer"}), False),
    ("commas", "gsm8k", "72", "#### " + "," * MEGABYTE, NOT_RIGHT, False),
    ("enumeration", "gsm8k", "72", "#### 70 71 72", NOT_RIGHT, False),
    ("other digits", "gsm8k", "72", "#### ٧٢", NOT_RIGHT, False),
    ("right in dollars", "gsm8k", "1072", "#### 72\n#### $1,072.00.", OK, True),
    ("all letters", "choice", "C", _box("A, B, C, D"), NOT_EVALUATED, False),
    ("letters in boxes", "choice", "C", "\\boxed{A} and \\boxed{B} and \\boxed{C}", NOT_EVALUATED, False),
    ("megabyte", "choice", "C", "answer is C " * 100_000, OK, True),
    ("megabyte of spaces", "choice", "C", "answer" + " " * MEGABYTE, frozenset({"no_answer"}), False),
    ("right after wrong", "choice", "C", "Answer: A. No, the answer is (C).", OK, True),
]

CASES = [*MATH, *GYM, *(Case(f"{of}-{name}", of, gold, {}, *rest) for name, of, gold, *rest in SMALL)]
