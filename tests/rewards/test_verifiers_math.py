r"""Mathematical answers: what math-verify documents, and one final answer per response."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_maxpo.rewards import Status
from verl_maxpo.rewards.verifiers.extraction import last_boxed, last_tag
from verl_maxpo.rewards.verifiers.math import verify

CORPUS = Path(__file__).parents[1] / "samples" / "math_forms.jsonl"

EQUAL = [
    ("42", "42"),
    ("1/2", "\\frac{1}{2}"),
    ("\\dfrac12", "0.5"),
    ("3\\frac{1}{2}", "7/2"),
    ("50\\%", "0.5"),
    ("50%", "50\\%"),
    ("9", "9\\%"),
    ("1,234,567", "1234567"),
    ("1{,}234", "1234"),
    ("\\$5", "5"),
    ("5\\text{ cm}", "5"),
    ("90^\\circ", "90"),
    ("2^{10}", "1024"),
    ("1 \\times 10^{-3}", "0.001"),
    ("\\sqrt{8}", "2\\sqrt{2}"),
    ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
    ("0.333333", "\\frac{1}{3}"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("(x+1)^2", "x^2+2x+1"),
    ("2x+3=y", "y = 2x + 3"),
    ("1, 2", "\\{2,1\\}"),
    ("2 \\text{ and } 1", "\\{1,2\\}"),
    ("\\pm 5", "\\{-5, 5\\}"),
    ("(0, \\infty)", "(0,\\infty)"),
    ("x \\in [0,1)", "[0,1)"),
    ("\\left[-1, 1\\right]", "-1 \\le x \\le 1"),
    ("-1 \\le x \\le 1", "[-1,1]"),
    ("x > 3", "3 < x"),
    ("(1,2)", "(1, 2)"),
    ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
    ("\\text{Monday}", "monday"),
    ("\\emptyset", "\\emptyset"),
    ("\\mathrm{C}", "\\text{C}"),
]

DIFFERENT = [
    ("43", "42"),
    ("0.33", "\\frac{1}{3}"),
    ("5, 6", "5"),
    ("\\pm 5", "5"),
    ("[0,1]", "[0,1)"),
    ("\\{1,2,3\\}", "\\{1,2\\}"),
    ("y=5", "x=5"),
    ("x > 3", "x \\ge 3"),
    ("x+1", "x+2"),
    ("-5", "5"),
    ("\\text{Monday}", "\\text{Tuesday}"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}"),
]


@pytest.mark.parametrize(("answer", "gold"), EQUAL)
def test_equal_answers(answer: str, gold: str) -> None:
    for truth in (gold, f"${gold}$", f"Some steps. Thus $\\boxed{{{gold}}}$."):
        result = verify(f"We get $\\boxed{{{answer}}}$.", truth, {})
        assert (result.score, result.correct, result.format_ok, result.status) == (1, True, True, Status.OK)


@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_different_answers(answer: str, gold: str) -> None:
    result = verify(f"We get $\\boxed{{{answer}}}$.", gold, {})
    assert (result.score, result.correct, result.format_ok, result.status) == (0, False, True, Status.OK)


@pytest.mark.parametrize(
    ("response", "gold", "correct"),
    [
        ("The answer is 7.", "7", True),
        ("The final answer is: $\\frac{1}{2}$.", "0.5", True),
        ("**Answer:** 7", "7", True),
        ("The answer is 7, because 5 is odd.", "7", True),
        ("The answer is 7, because 5 is odd.", "5", False),
        ("The answer is 5 or 7.", "7", False),
        ("The answer is $5$ or $7$.", "\\{5,7\\}", True),
        ("so x = 3 and y = 4.", "4", False),
        ("so x = 3 and y = 4.", "x=3, y=4", True),
        ("1, 2, 3, 4, 5", "5", False),
        ("It is \\(\\sqrt{2}\\)", "\\sqrt{2}", True),
        ("the answer is [0,1)", "[0,1)", True),
        ("half, that is 50\\%", "0.5", True),
        ("The answer is $5$. Wait, the answer is $6$", "6", True),
    ],
)
def test_answers_without_a_box(response: str, gold: str, correct: bool) -> None:
    result = verify(response, gold, {})
    assert (result.correct, result.format_ok) == (correct, False)
    assert verify(response, gold, {}, boxed_only=True).status is Status.NO_ANSWER


@pytest.mark.parametrize("response", ["", "I do not know.", "\\boxed", "\\boxed{", "}{"])
def test_no_answer(response: str) -> None:
    assert verify(response, "7", {}).status is Status.NO_ANSWER


def test_the_last_box_counts() -> None:
    assert verify("\\boxed{1} ... \\boxed{2}", "2", {}).correct
    assert not verify("\\boxed{2} ... \\boxed{1}", "2", {}).correct
    assert verify("$\\boxed{1}$ and $\\boxed{2}$", "\\{1,2\\}", {}).correct
    assert not verify("$\\boxed{1}$ and $\\boxed{2}$", "2", {}).correct


def test_equal_answers_written_alike_vote_alike() -> None:
    texts = {verify(f"\\boxed{{{text}}}", "3", {}).answer for text in ("\\frac{1}{2}", "\\dfrac 12", "1/2")}
    assert texts == {"1/2"}
    assert verify("\\boxed{\\dfrac12}", "\\dfrac12", {}).answer == "1/2"


@pytest.mark.parametrize("gold", ["", "  ", "\\{x | x>", "\\boxed{}", "::"])
def test_unreadable_ground_truth_is_an_error(gold: str) -> None:
    with pytest.raises(ValueError, match="is not an answer in LaTeX"):
        verify("\\boxed{1}", gold, {})


@pytest.mark.parametrize("gold", [None, True, ["1"], {"answer": 1}])
def test_ground_truth_of_another_type_is_an_error(gold: object) -> None:
    with pytest.raises(ValueError, match=f"text or a number, got {type(gold).__name__}"):
        verify("\\boxed{1}", gold, {})


def test_numbers_as_ground_truth() -> None:
    assert verify("\\boxed{7}", 7, {}).correct
    assert verify("\\boxed{\\frac12}", 0.5, {}).correct


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet=st.characters(codec=None), max_size=40)
    | st.text(alphabet="0123456789+-^_{}()\\,.%$!x ", max_size=12)
)
def test_any_response_has_a_result(text: str) -> None:
    for response in (text, f"\\boxed{{{text}}}", f"answer is {text}"):
        result = verify(response, "7", {})
        assert result.score == float(result.correct)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
@settings(max_examples=25, deadline=None)
def test_fractions_are_equal_to_their_multiples(numerator: int, denominator: int) -> None:
    response = f"\\boxed{{\\frac{{{3 * numerator}}}{{{3 * denominator}}}}}"
    assert verify(response, f"{numerator}/{denominator}", {}).correct
    assert not verify(response, f"{numerator + 1}/{denominator}", {}).correct


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("\\boxed{1}", "1"),
        ("\\boxed {1}", "1"),
        ("\\fbox{1}", "1"),
        ("\\\\boxed{1}", "1"),
        ("\\boxed{\\frac{1}{2}} {", "\\frac{1}{2}"),
        ("\\boxed{a\\}b}", "a\\}b"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{x = \\boxed{5}}", "5"),
        ("\\boxed{1} \\boxed{2", "1"),
        ("\\boxed{1}, \\boxed{2} or \\boxed{3}", "1, 2, 3"),
        ("\\boxed{1}. So \\boxed{2}", "2"),
        ("unboxed{1}", None),
        ("}\\boxed{1}", "1"),
        ("is $\\boxed 35$.", "35"),
        ("is $\\fbox 2$", "2"),
    ],
)
def test_last_boxed(text: str, box: str | None) -> None:
    assert last_boxed(text) == box


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\{", "\\}", "\\", "1", " "]), max_size=14))
def test_last_boxed_is_balanced(parts: list[str]) -> None:
    text = "".join(parts)
    box = last_boxed(text)
    if box is not None:
        assert box in text
        plain = box.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert plain.count("{") == plain.count("}")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<a>4*6</a></a>", "4*6"),
        ("<a> 1 </a>", "1"),
        ("<a>1</a><a>2</a>", "2"),
        ("<a>1</a><a>2", "1"),
        ("<a>1<a>2</a>", "2"),
        ("1</a>", None),
    ],
)
def test_last_tag(text: str, content: str | None) -> None:
    assert last_tag(text, "a") == content


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\$32,\!348", "32348"),
        (r"11,\! 111,\! 111,\! 100", "11111111100"),
        (r"0.\overline{3}", r"\frac13"),
        (r"\frac{1}{6}", r"0.1\overline{6}"),
        (r"-1.\overline{27}", r"-\frac{14}{11}"),
        (r".\overline{9}", "1"),
    ],
)
def test_numbers_as_mathematicians_print_them(gold: str, answer: str) -> None:
    assert verify(f"\\boxed{{{answer}}}", gold, {}).correct
    assert not verify(r"\boxed{32}", gold, {}).correct


def test_corpus_of_forms() -> None:
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    missed = [row for row in rows if verify(row["response"], row["gold"], {}).correct != row["correct"]]
    assert not missed


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("(3,\\infty)", "2x-1>5"),
        ("[-1,1]", "x^2 \\le 1"),
        ("2,3", "(x^2-5x+6)^2 \\le 0"),
        ("x > 3", "2x - 1 > 5"),
        ("x = 5", "2x = 10"),
        ("0", "x^2-5x+6 = 0"),
        ("0", "6.63e-34"),
        ("10^{-20}\\pi", "10^{-21}\\pi"),
        ("5", "5\\text{ or 6 or 7}"),
        ("\\frac{1}{3}", "\\int_0^1 x^2 dx"),
        ("56088", "123 \\cdot 456"),
        ("abc", "cab"),
        ("5x", "5"),
        ("5m", "5"),
    ],
)
def test_what_pays_without_a_solution(gold: str, answer: str) -> None:
    result = verify(f"\\boxed{{{answer}}}", gold, {})
    assert (result.correct, result.status) == (False, Status.OK)


@pytest.mark.parametrize(
    "solution", ["Thus $\\boxed{1}$ and $\\boxed{2}$.", "so $\\boxed 35$.", "#### 1,234", "is \\fbox{7}"]
)
def test_a_gold_solution_repeated_is_right(solution: str) -> None:
    assert verify(solution, solution, {}).correct
