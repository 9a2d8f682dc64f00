"""The quickstart's task and starting point."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.quickstart import countdown, prepare

from verl_maxpo.rewards.verifiers.countdown import verify


@pytest.mark.parametrize("digits", ["1234", "4889", "9999"])
def test_expressions_have_pythons_values(digits: str) -> None:
    values = countdown.expressions(digits)
    assert values == {expression: eval(expression) for expression in values}
    assert all("".join(sorted(filter(str.isdigit, expression))) == digits for expression in values)


def test_problems_are_split_without_overlap() -> None:
    train, test = countdown.problems()
    assert (len(train), len(test)) == (7827, 300)
    assert not set(train) & set(test)
    assert (train, test) == countdown.problems()


@pytest.mark.parametrize(
    ("response", "correct", "format_ok"),
    [("8-4+8+9", 1, 1), ("8+4+8+9", 0, 1), ("9*8-4-8", 0, 1), ("", 0, 0), ("21", 0, 0), ("8-4+8+8", 0, 0),
     ("8-4+8+9" * 1000, 0, 0), ("__import__('os').abort()", 0, 0)],
)  # fmt: skip
def test_the_verifier_scores_the_task(response: str, correct: int, format_ok: int) -> None:
    result = verify(response, countdown.Problem("4889", 21).ground_truth, {}, bare=True)
    assert (result.score, result.correct, result.format_ok) == (correct, correct, format_ok)


def test_tokenizer_has_one_token_for_each_character() -> None:
    tokenizer = prepare.make_tokenizer()
    problem = countdown.Problem("4889", 21)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": problem.prompt}], return_dict=False)
    assert len(ids) == len(problem.prompt) == 8
    assert tokenizer.decode(ids) == problem.prompt
    assert tokenizer.eos_token == "<|im_end|>"


def test_data_has_verls_schema(tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    prepare.save_problems(file, "test", countdown.problems()[1])
    row = pd.read_parquet(file).iloc[5]
    assert row.data_source == "countdown4"
    problem = countdown.problems()[1][5]
    assert row.prompt[0] == {"role": "user", "content": problem.prompt}
    assert row.reward_model["ground_truth"] == problem.ground_truth
    assert row.extra_info == {"index": 5, "split": "test", "solution": problem.solution}
    assert verify(problem.solution, problem.ground_truth, {}, bare=True).correct
