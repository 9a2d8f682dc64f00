"""GSM8K, multiple choice, Countdown, the expression grammar and functions of the user's."""

from __future__ import annotations

import itertools
import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_maxpo.rewards import Status
from verl_maxpo.rewards.registry import load_verifier
from verl_maxpo.rewards.verifiers import choice, countdown, gsm8k, python_function
from verl_maxpo.rewards.verifiers.expressions import (
    Forbidden,
    Grammar,
    NotEvaluated,
    Unreadable,
    check,
    check_literal,
    evaluate,
)
from verl_maxpo.rewards.verifiers.extraction import candidates
from verl_maxpo.rewards.verifiers.scores import to_result


@pytest.mark.parametrize(
    ("response", "gold", "strict", "flexible"),
    [
        ("It is 72.\n#### 72", "72", True, True),
        ("#### 72.", "... so 72 #### 72", True, True),
        ("#### 72.0", "72", True, True),
        ("#### -1,072.50", "-1072.5", True, True),
        ("#### $72", 72, True, True),
        ("#### 72 apples", "72", True, True),
        ("#### 70%", "70", True, True),
        ("#### 3/4", "0.75", True, True),
        ("#### 1e5", "100000", True, True),
        ("#### **72**", "72", True, True),
        ("#### \\boxed{72}", "72", True, True),
        ("#### x = 72", "72", True, True),
        ("#### - 5", "-5", True, True),
        ("####: 72", "72", True, True),
        ("#### €72", "72", True, True),
        ("####\n72", "72", True, True),
        ("#### seventy-two", "72", True, True),
        ("#### 71 #### 72", "72", True, True),
        ("#### 72 #### 71", "72", False, False),
        ("It is 72.", "72", None, True),
        ("", "72", None, None),
        ("#### .5", "0.5", True, True),
        ("#### 720", "72", False, False),
    ],
)
def test_gsm8k(response: str, gold: object, strict: bool | None, flexible: bool | None) -> None:
    for method, correct in (("strict", strict), ("flexible", flexible)):
        result = gsm8k.verify(response, gold, {}, method=method)
        assert (result.status is Status.NO_ANSWER) == (correct is None)
        assert result.correct == bool(correct)


@pytest.mark.parametrize("line", ["5,6", "5 or 6", "72 apples of 80", "about 5", "5 million or so", "x", "5 6", "±5"])
def test_gsm8k_a_line_that_is_not_one_number(line: str) -> None:
    for gold in ("3", "5", "6", "56", "72"):
        assert gsm8k.verify(f"#### {line}", gold, {}).status is Status.UNPARSEABLE


@pytest.mark.parametrize("gold", ["", "some", "1 2", None, "#### x"])
def test_gsm8k_ground_truth_without_a_number(gold: object) -> None:
    with pytest.raises(ValueError, match="ground_truth must be a number"):
        gsm8k.verify("#### 72", gold, {})


def test_gsm8k_unknown_method() -> None:
    with pytest.raises(ValueError, match="lenient"):
        gsm8k.verify("#### 72", "72", {}, method="lenient")


@given(st.decimals(-(10**9), 10**9, places=3))
def test_gsm8k_numbers_are_exact(number: Any) -> None:
    assert gsm8k.verify(f"#### {number:,f}", f"{number:f}", {}).correct
    assert not gsm8k.verify(f"#### {number + 1:,f}", f"{number:f}", {}).correct


@pytest.mark.parametrize(
    "response",
    [
        "\\boxed{C}", "\\boxed{\\text{(C)}}", "\\boxed{(C) a cat}", "\\boxed{\\textbf{(C)}\\ 5}", "<answer>c</answer>",
        "The answer is (C).", "**Answer:** C", "the answer is $\\boxed{C}$", "C", "Hm.\n(C)", "the answer is C because",
        "The answer is A. No, the answer is C.", "Answer: A, but \\boxed{C}", "\\boxed{A} No, \\boxed{C}",
    ],
)  # fmt: skip
def test_choice(response: str) -> None:
    assert choice.verify(response, "C", {}).correct
    assert not choice.verify(response, "A", {}).correct


@pytest.mark.parametrize("response", ["", "I think so", "The answer is A dog", "The answer is I think none", "A cat."])
def test_choice_words_are_no_letters(response: str) -> None:
    assert choice.verify(response, "A", {}).status is Status.NO_ANSWER


@pytest.mark.parametrize(
    "response",
    [
        "The answer is A or B.",
        "The answer is (A) or (C)",
        "Answer: A/B",
        "Answer: **A** and **C**",
        "answer is A, B or C",
    ],
)
def test_choice_hedges_are_no_answer(response: str) -> None:
    for letter in "ABC":
        assert choice.verify(response, letter, {}).status is Status.UNPARSEABLE


@pytest.mark.parametrize(
    "response",
    [
        "\\boxed{A, B, C, D}", "\\boxed{A} and \\boxed{C}", "\\boxed{42}", "\\boxed{E}", "\\boxed{A or C}",
        "\\boxed{(A) or (C)}", "\\boxed{\\text{(C) 5 and (D) 6}}", "<answer>C/D</answer>",
    ],
)  # fmt: skip
def test_choice_must_be_one_of_the_letters(response: str) -> None:
    assert choice.verify(response, "C", {}, choices="ABCD").status is Status.UNPARSEABLE


def test_choice_positions() -> None:
    assert choice.verify("C", 2, {}, index_from=0).correct
    assert choice.verify("C", "3", {}, index_from=1).correct


@pytest.mark.parametrize(
    ("gold", "options"),
    [
        ("Z", {}),
        ("E", {"choices": "ABCD"}),
        (2, {}),
        ("", {}),
        (4, {"choices": "ABCD", "index_from": 0}),
        (0, {"index_from": 1}),
    ],
)
def test_choice_ill_formed_ground_truth(gold: object, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ground_truth must be"):
        choice.verify("A", gold, {}, **options)


def test_choice_ill_formed_choices() -> None:
    with pytest.raises(ValueError, match="choices must be"):
        choice.verify("A", "A", {}, choices="XYZ")


PROBLEM = {"target": 24, "numbers": [4, 6, 1, 1]}


@pytest.mark.parametrize(
    ("answer", "correct", "format_ok"),
    [
        ("4 * 6 * 1 * 1", True, True),
        ("(4*6)/(1/1) = 24", True, True),
        ("4 × 6 ÷ 1 ÷ 1", True, True),
        ("\\boxed{4 \\times 6 \\times 1 \\div 1}", True, True),
        ("4*6*1*1 = 25", False, True),
        ("4+6+1+1", False, True),
        ("4*6*1", False, False),
        ("4*6", False, False),
        ("24", False, False),
        ("4*6*(1-1)/(1-1)", False, False),
        ("46-1-1", False, False),
    ],
)
def test_countdown(answer: str, correct: bool, format_ok: bool) -> None:
    for problem in (PROBLEM, json.dumps(PROBLEM), {"target": np.int64(24), "numbers": np.array([4, 6, 1, 1])}):
        result = countdown.verify(f"<answer>{answer}</answer>", problem, {})
        assert (result.correct, result.format_ok, result.status) == (correct, format_ok, Status.OK)


def test_countdown_division_by_zero_is_wrong() -> None:
    result = countdown.verify("<answer>4/(6-6)</answer>", {"target": 0, "numbers": [4, 6, 6]}, {})
    assert (result.correct, result.format_ok) == (False, True)


@pytest.mark.parametrize("answer", ["4*6*1*", "4 6", "", "(4", "four", "4*6*1*1 = x", "4=4=4", "4//1", "4**6"])
def test_countdown_what_is_no_expression(answer: str) -> None:
    result = countdown.verify(f"<answer>{answer}</answer>", PROBLEM, {})
    assert result.status in (Status.UNPARSEABLE, Status.REFUSED)


def test_countdown_bare() -> None:
    quickstart = {"target": 21, "numbers": [4, 8, 8, 9]}
    assert countdown.verify("8-4+8+9", quickstart, {}, bare=True).correct
    assert countdown.verify("8-4+8+9", quickstart, {}).status is Status.NO_ANSWER


@pytest.mark.parametrize(
    "gold", [None, "", "21", {"target": 21}, {"target": "x", "numbers": []}, {"target": 1.5, "numbers": []}, [1], "[1]"]
)
def test_countdown_ill_formed_ground_truth(gold: object) -> None:
    with pytest.raises(ValueError, match="ground_truth must be like"):
        countdown.verify("<answer>1</answer>", gold, {})


EXPRESSIONS = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({''.join(parts)})"),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_evaluate_is_exact_arithmetic(text: str) -> None:
    fractions = "".join(f"Fraction({t})" if t.isdigit() else t for t in _tokens(text))
    try:
        value = eval(fractions)
    except ZeroDivisionError:
        with pytest.raises(Unreadable, match="division by zero"):
            evaluate(check(text))
    else:
        assert evaluate(check(text)) == Fraction(value)


def _tokens(text: str) -> list[str]:
    return ["".join(group) for _, group in itertools.groupby(text, key=lambda c: "0" if c.isdigit() else object())]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "f(1)",
        "1.5",
        "1j",
        "2**3",
        "7//2",
        "7%2",
        "1<2",
        "[1]",
        "'1'",
        "1 if 1 else 2",
        "x.y",
        "~1",
        "1__0",
        "9" * 31,
    ],
)
def test_arithmetic_refuses(text: str) -> None:
    with pytest.raises(NotEvaluated):
        check(text)


@pytest.mark.parametrize("text", ["", "1+", "(1", "1 2", "08"])
def test_unreadable_expressions(text: str) -> None:
    with pytest.raises(Unreadable):
        check(text)


CALCULUS = Grammar(frozenset({"x", "C"}), frozenset({"sin", "exp"}), powers=100, decimals=True)


@pytest.mark.parametrize(
    "text", ["x**2/2 + C", "sin(x**2)*exp(-x)", "(x + 1)**(1/2)", "2**(3*x)", "((x**5)**5)**4", "x**-1"]
)
def test_grammar_of_calculus_accepts(text: str) -> None:
    check(text, CALCULUS)


@pytest.mark.parametrize(
    "text",
    [
        "y", "cos(x)", "x**101", "2**(101*x)", "((x**5)**5)**5", "9**9**9", "x**x**x", "exp(x, x)", "exp(x=1)", "x(2)",
        "sin(x).f", "sin", "x**(99*99)", "(9**99)**99", "2**(-999)", "x**(1/1000)*x**1000", "1e999",
    ],
)  # fmt: skip
def test_grammar_of_calculus_refuses(text: str) -> None:
    with pytest.raises(NotEvaluated):
        check(text, CALCULUS)


@pytest.mark.parametrize("text", ["[1, -2]", "[['a', \"b\"], ()]", "(1,)", "5"])
def test_literals(text: str) -> None:
    check_literal(text)


@pytest.mark.parametrize(
    "text",
    ["[x]", "[](1)", "f()", "['a'.b]", "[1+1]", "['\\x00']", "[f'{1}']", "[*a]", "{1: 2}", "[" * 300, "1" * 50 + "x"],
)
def test_what_is_no_literal(text: str) -> None:
    with pytest.raises((Forbidden, Unreadable)):
        check_literal(text)


def test_python_function(tmp_path: Path) -> None:
    file = tmp_path / "score.py"
    file.write_text(
        "def number(data_source, solution_str, ground_truth, extra_info, scale=1):\n"
        "    return scale * (solution_str == ground_truth)\n"
        "def mapping(solution_str, **_):\n"
        "    return {'score': -1, 'acc': True, 'pred': solution_str, 'format_ok': False}\n"
        "def of_row(extra_info, data_source, **_):\n"
        "    return extra_info['score'] if data_source == 'here' else 0\n"
        "async def later(**_):\n"
        "    return 1\n"
        "not_a_function = 1\n"
    )
    path = str(file)
    number = python_function.verify("7", "7", {}, path=path, name="number", score_range=[0, 4], scale=2)
    assert (number.score, number.correct, number.answer) == (0.5, False, None)
    mapping = python_function.verify("7", "7", {}, path=path, name="mapping", score_range=[-1, 1])
    assert (mapping.score, mapping.correct, mapping.answer, mapping.format_ok) == (0, True, "7", False)
    row = {"data_source": "here", "score": 1}
    assert python_function.verify("7", "7", row, path=path, name="of_row").correct
    python_function.prepare(path=path, name="number", scale=2)
    with pytest.raises(ValueError, match=r"later of .* is async, but a verifier has no network"):
        python_function.prepare(path=path, name="later")
    for name in ("missing", "not_a_function"):
        with pytest.raises(ValueError, match=name):
            python_function.verify("7", "7", {}, path=path, name=name)
    with pytest.raises(ValueError, match="absent"):
        python_function.verify("7", "7", {}, path=str(tmp_path / "absent.py"), name="number")
    with pytest.raises(ValueError, match="low < high"):
        python_function.verify("7", "7", {}, path=path, name="number", score_range=[1, 0])


def test_python_function_of_a_module() -> None:
    with pytest.raises(ValueError, match=r"math has no function 'nothing'"):
        python_function.verify("7", "7", {}, path="pkg://math", name="nothing")


def seconds_to_find(text: str) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        list(candidates(text))
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("start", ["", "\\boxed{1"])
@pytest.mark.parametrize(
    "piece",
    [
        *("\\boxed{", "\\boxed{1} and ", "\\boxed 5, ", "{", "}", "\\{", "<answer>", "<answer></answer>", "</think>"),
        *("answer ", "answer\n", "answer is ", "correct option ", "#### ", "$", "**a", "1. ", "\n- ", ". 5"),
    ],
)
def test_finding_the_answer_takes_linear_time(start: str, piece: str) -> None:
    """Four times the text takes about four times as long; with quadratic time it would be sixteen."""
    short, long = (seconds_to_find(start + piece * (length // len(piece))) for length in (10_000, 40_000))
    assert long < 8 * short + 0.01


@pytest.mark.parametrize("outcome", [2, -1, float("nan"), float("inf"), None, "x", {}, {"score": None}, [1]])
def test_scores_outside_their_range_are_errors(outcome: object) -> None:
    with pytest.raises(ValueError, match="scor"):
        to_result(outcome, (0.0, 1.0))


@given(response=st.text(max_size=60), form=st.sampled_from(["{}", "<answer>{}</answer>", "\\boxed{{{}}}", "#### {}"]))
def test_any_response_has_a_result(response: str, form: str) -> None:
    text = form.format(response)
    for verify, gold in ((gsm8k.verify, "7"), (choice.verify, "C"), (countdown.verify, PROBLEM)):
        result = verify(text, gold, {})
        assert result.score == float(result.correct)


@pytest.mark.slow
def test_verl_scorers() -> None:
    verify = load_verifier("verl")
    assert verify("#### 72", "72", {"data_source": "openai/gsm8k"}).correct
    assert verify("\\boxed{\\frac12}", "\\frac{1}{2}", {"data_source": "lighteval/MATH"}).correct
    for source in ("math_dapo", "aime2024"):
        right, wrong = (verify(f"Answer: {n}", "7", {"data_source": source}) for n in (7, 8))
        assert (right.score, right.correct, right.answer) == (1, True, "7")
        assert (wrong.score, wrong.correct, wrong.answer) == (0, False, "8")
    assert verify("<answer>Bern</answer>", {"target": "Bern"}, {"data_source": "searchR1_nq"}).score == 1
    for source in ("codecontests", "apps", "codeforces", "taco", "numina_olympiads", "hiyouga/geometry3k", "new", None):
        with pytest.raises(ValueError, match=str(source)):
            verify("print(1)", "1", {"data_source": source})
