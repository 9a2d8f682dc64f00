"""The quickstart's task, starting point and report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart"
sys.path.insert(0, str(QUICKSTART))

import countdown  # noqa: E402
import prepare  # noqa: E402
import report  # noqa: E402


def score(response: str, ground_truth: str = "4889:21=") -> dict[str, float]:
    return countdown.compute_score("countdown4", response, ground_truth)


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


def test_right_answer() -> None:
    assert score("8-4+8+9") == {"score": 1.0, "acc": 1.0, "format_ok": 1.0}


@pytest.mark.parametrize("response", ["8+4+8+9", "9*8-4-8"])
def test_valid_expression_with_the_wrong_value(response: str) -> None:
    assert score(response) == {"score": 0.0, "acc": 0.0, "format_ok": 1.0}


@pytest.mark.parametrize(
    "response",
    ["", "21", "8-4+8+8", "8-4+8", "8-4+8+9 ", "8-4+8+9\n", "(8-4)+8+9", "8--4+8+9", "8-4+8+9+0", "8−4+8+9",
     "8-4+8+٩", "__import__('os').abort()", "8-4+8+9" * 1000, "\0"],
)  # fmt: skip
def test_anything_else_scores_0(response: str) -> None:
    assert score(response) == {"score": 0.0, "acc": 0.0, "format_ok": 0.0}


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
    assert row.prompt[0] == {"role": "user", "content": row.reward_model["ground_truth"]}
    assert row.extra_info == {"index": 5, "split": "test"}


def write_dump(run: Path, step: int, correct: list[int], n: int = 16) -> None:
    """Write a validation dump in which problem i is solved ``correct[i]`` times of n."""
    (run / "validation").mkdir(parents=True, exist_ok=True)
    rows = [
        {"input": f"problem {i}", "output": "", "score": j, "acc": float(j < c), "step": step}
        for i, c in enumerate(correct)
        for j in range(n)
    ]
    (run / "validation" / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_report_shows_unbiased_pass_at_k(tmp_path: Path) -> None:
    write_dump(tmp_path / "maxpo-seed0", 0, [0, 1])
    write_dump(tmp_path / "maxpo-seed0", 10, [16, 4])
    write_dump(tmp_path / "maxpo-seed1", 0, [0, 1])
    write_dump(tmp_path / "maxpo-seed1", 10, [16, 0])
    command = [sys.executable, QUICKSTART / "report.py", "--out", tmp_path / "report"]
    runs = [tmp_path / "maxpo-seed0", tmp_path / "maxpo-seed1"]
    result = subprocess.run([*command, *runs], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "report" / "pass_at_k.json").read_text())
    last = {row["seed"]: row["pass_at_k"] for row in rows if row["step"] == 10}
    assert last[0] == {str(k): report.pass_at_k(16, [16, 4], k).mean() for k in (1, 2, 4, 8, 16)}
    assert last[1]["16"] == 0.5
    assert "0.562 ± 0.088" in result.stdout  # pass@1: mean and standard deviation of (1 + 1/4)/2 and 1/2
    assert (tmp_path / "report" / "pass_at_k.png").stat().st_size > 10_000


def test_report_of_a_run_without_evaluations_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no validation dumps"):
        report.read_run(tmp_path)
