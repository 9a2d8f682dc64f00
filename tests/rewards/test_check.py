"""``verl-maxpo check``."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hostile import ENTRIES

from verl_maxpo.cli import main
from verl_maxpo.rewards.registry import load_verifier


@pytest.fixture
def write(tmp_path):
    def write(*rows):
        """Write (data source, ground truth) rows in verl's schema."""
        path = tmp_path / "data.parquet"
        columns = {
            "data_source": [source for source, _ in rows],
            "prompt": [[{"role": "user", "content": "?"}]] * len(rows),
            "reward_model": [{"style": "rule", "ground_truth": gold} for _, gold in rows],
            "extra_info": [{"index": i} for i in range(len(rows))],
        }
        pq.write_table(pa.table(columns), path)
        return str(path)

    return write


GOOD = [("openai/gsm8k", "72"), ("aime24", "204"), ("math_dapo", r"\frac{1}{2}"), ("my/choice", "C")] * 80
OPTIONS = ["--option", "routes={my/*: choice}"]


def test_good_rows(write, capsys):
    assert main(["check", write(*GOOD), *OPTIONS]) == 0
    output = capsys.readouterr().out
    assert "80 rows of openai/gsm8k" in output
    assert "0 problem(s)" in output


def test_bad_rows_are_named(write, capsys):
    rows = [*GOOD[:7], ("aime24", r"\frac{1}{"), *GOOD[:2], ("openai/gsm8k", "no number"), ("my/choice", "Z")]
    assert main(["check", write(*rows), *OPTIONS]) == 1
    output = capsys.readouterr().out
    assert "3 problem(s)" in output
    for row in (7, 10, 11):
        assert f"  row {row}: " in output
    assert "ValueError" in output


def test_a_source_that_nothing_claims(write, capsys):
    assert main(["check", write(*GOOD)]) == 2
    assert "no verifier claims the data source 'my/choice'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.parquet"], "missing.parquet does not exist"),
        (["data.csv"], "data.csv must be a parquet or JSON file"),
        (["{data}", "--option", "tiemout=3"], "reward.reward_kwargs has no option 'tiemout' (did you mean 'timeout'?)"),
        (["{data}", "--option", "timeout"], "an option must be KEY=VALUE, such as timeout=5, got 'timeout'"),
        (["{data}", "--option", "routes={a"], "cannot read the options routes={a"),
        (
            ["{data}", *OPTIONS, "--option", "routes.aime24={verifier: math, precison: 3}"],
            "the verifier 'math' does not take {'precison': 3}",
        ),
        (
            ["{data}", *OPTIONS, "--option", "routes.aime24={verifier: python_function, path: nowhere.py, name: f}"],
            "path must be a Python file or pkg://package.module, got 'nowhere.py'",
        ),
    ],
)
def test_what_cannot_be_checked(write, capsys, arguments, message):
    data = write(*GOOD)
    assert main(["check", *(argument.replace("{data}", data) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"source": ["aime24"], "reward_model": [{"ground_truth": "1"}]}, "has no column data_source ("),
        ({"prompt": ["?"]}, "has no column data_source and no column reward_model ("),
        ({"data_source": [], "reward_model": []}, "has no rows"),
        (
            {"data_source": ["aime24", None], "reward_model": [{"ground_truth": "1"}] * 2},
            "data_source must be text, but row 1 has None",
        ),
        ({"data_source": [24], "reward_model": [{"ground_truth": "1"}]}, "must be text, but row 0 has 24"),
    ],
)
def test_an_unusable_file_is_an_error_named_once(tmp_path, capsys, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    assert main(["check", str(tmp_path / "data.parquet")]) == 2
    error = capsys.readouterr().err
    assert error.count(message) == 1, error


def test_unreadable_files_are_errors(tmp_path, capsys):
    for name, content in [("a.parquet", "PAR?"), ("b.jsonl", '{"data_source": "ai'), ("c.jsonl", "")]:
        (tmp_path / name).write_text(content)
        assert main(["check", str(tmp_path / name)]) == 2
        assert f"{name} cannot be read" in capsys.readouterr().err


def test_a_verifier_without_examples_is_said_to_be_unchecked(write, capsys, tmp_path):
    (tmp_path / "toy.py").write_text("def compute_score(**row): return 0.0\n")
    option = f"default_verifier={{verifier: python_function, path: {tmp_path / 'toy.py'}, name: compute_score}}"
    assert main(["check", write(("mine", "1")), "--option", option]) == 1
    assert "warning: 1 of mine not checked: no gold answer to check with" in capsys.readouterr().out


def test_a_verifier_that_accepts_everything_is_found(write, capsys, tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text("def compute_score(**row): return 1.0\n")
    monkeypatch.setattr("verl_maxpo.rewards.check.examples", lambda *_: ("right", "wrong"))
    option = f"default_verifier={{verifier: python_function, path: {tmp_path / 'toy.py'}, name: compute_score}}"
    assert main(["check", write(("mine", "1")), "--option", option]) == 1
    assert "row 0: the wrong answer 'wrong' is verified as correct" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verifier", "ground_truth", "extra_info"),
    [
        ("math", r"so $\boxed{\frac12}$.", {}),
        ("math", "[0, 1)", {}),
        ("gsm8k", "1 + 1 = 2 #### 1,234", {}),
        ("choice", "(B)", {}),
        ("countdown", '{"target": 24, "numbers": [4, 6]}', {}),
        ("countdown", '{"target": 24, "numbers": [4, 6]}', {"solution": "4*6"}),
        ("reasoning_gym", "", {"task": "countdown", "entry": repr({"question": "", **ENTRIES["countdown"]})}),
        ("reasoning_gym", "", {"task": "rush_hour", "entry": repr({"question": "", **ENTRIES["rush_hour"]})}),
    ],
)
def test_examples_are_right_and_wrong(verifier, ground_truth, extra_info):
    verify = load_verifier(verifier)
    right, wrong = sys.modules[verify.__module__].examples(ground_truth, extra_info)
    assert right is None or verify(right, ground_truth, extra_info).correct
    assert not verify(wrong, ground_truth, extra_info).correct
    assert (right is None) == ((verifier, extra_info) == ("countdown", {}) or extra_info.get("task") == "rush_hour")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "ground_truth"),
    [
        ("openai/gsm8k", "72"),
        ("lighteval/MATH", r"\frac{1}{2}"),
        ("math_dapo", "34"),
        ("aime24", "204"),
        ("searchR1_nq", {"target": ["Paris"]}),
    ],
)
def test_examples_for_verls_scorers(source, ground_truth):
    verify, extra_info = load_verifier("verl"), {"data_source": source}
    right, wrong = sys.modules[verify.__module__].examples(ground_truth, extra_info)
    assert verify(right, ground_truth, extra_info).correct
    assert not verify(wrong, ground_truth, extra_info).correct
