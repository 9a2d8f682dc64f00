r"""How answers are read: the same answers vote together, whatever their notation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_maxpo.rewards.verifiers.answers import canonical_answer

CORPUS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "samples" / "math_forms.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(
    "texts",
    [
        ["42", "42.0", "x=42", "x = 42", "$42$", "42.", "4.2e1", "\\frac{84}{2}", "+42", "\\$42", "42 apples", " 42 "],
        ["1/2", "0.5", "\\dfrac12", "50\\%", "½", ".5"],
        ["1,234", "1234", "1{,}234", "1\\,234"],
        ["\\{1, 2\\}", "2, 1", "1 \\text{ and } 2", "x=1 \\text{ or } x=2"],
        ["(1, 2)", "\\left(1,2\\right)", "(1.0, 4/2)", "\\langle 1,2 \\rangle"],
        ["x^2+1", "x^{2} + 1", "x²+1", "f(x) = x^2+1", "\\boldsymbol{x^2 + 1}"],
        ["[0, \\infty)", "x \\ge 0", "[0,∞)", "0 ≤ x"],
        ["yes", "Yes.", "\\text{YES}"],
        ["\\emptyset", "\\varnothing", "\\text{no solution}"],
    ],
)
def test_the_same_answers_have_one_canonical_text(texts: list[str]) -> None:
    assert len({canonical_answer(text) for text in texts}) == 1


def test_different_answers_have_different_canonical_texts() -> None:
    texts = [
        "42",
        "-42",
        "4.2",
        "4, 2",
        "(4, 2)",
        "(2, 4)",
        "[0, 42)",
        "[0, 42]",
        "413_5",
        "413_6",
        "x",
        "2x",
        "42!",
        "no",
    ]
    assert len({canonical_answer(text) for text in texts}) == len(texts)


def test_canonical_texts_are_their_own() -> None:
    for row in CORPUS:
        assert canonical_answer(canonical_answer(row["gold"])) == canonical_answer(row["gold"])


@settings(deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="0123456789+-^_{}()[]\\,.%$!=<x/: ", max_size=20))
def test_any_text_has_a_canonical_text(text: str) -> None:
    assert isinstance(canonical_answer(text), str)
