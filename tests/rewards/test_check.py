"""``verl-maxpo check``."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hostile import ENTRIES

from verl_maxpo.cli import main
from verl_maxpo.rewards.registry import load_verifier

MESSAGES = [{"role": "user", "content": "?"}]


@pytest.fixture
def write(tmp_path):
    def write(*rows, ask="question"):
        """Write (data source, ground truth) rows in verl's schema."""
        path = tmp_path / "data.parquet"
        columns = {
            "data_source": [source for source, _ in rows],
            "prompt": [[{"role": "user", "content": f"{ask} {i}"}] for i in range(len(rows))],
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
        (["{data}", "--option", "routes={a"], "cannot read the option routes={a"),
        (["{data}", "--option", "routes.my/choice=choice"], "Write a data source as in routes='{my/qa: math}'"),
        (["{data}", "--custom-reward-function", "f.py"], "--custom-reward-function must be FILE:NAME, got 'f.py'"),
        (["{data}", "--custom-reward-function", "nowhere.py:f"], "reward.custom_reward_function: "),
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
        (
            {"source": ["aime24"], "reward_model": [{"ground_truth": "1"}]},
            "has no column data_source and no column prompt (",
        ),
        ({"prompt": ["?"]}, "has no column data_source and no column reward_model ("),
        ({"data_source": [], "reward_model": [], "prompt": []}, "has no rows"),
        (
            {"data_source": ["aime24", None], "reward_model": [{"ground_truth": "1"}] * 2, "prompt": ["?"] * 2},
            "data_source must be text, but row 1 has None",
        ),
        ({"data_source": [24], "reward_model": [{"ground_truth": "1"}], "prompt": ["?"]}, "text, but row 0 has 24"),
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


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"prompt": ["2 + 2?"]},
            "prompt must be a list of messages such as [{role: user, content: '2 + 2?'}], got str",
        ),
        ({"prompt": [["2 + 2?"]]}, "prompt must be a list of messages"),
        ({"prompt": [[{"role": "user"}]]}, "prompt must be a list of messages"),
        (
            {"reward_model": ["4"]},
            "reward_model must be a mapping such as {style: rule, ground_truth: '4'}, got str '4'",
        ),
        ({"reward_model": [{"style": "rule"}]}, "reward_model must be a mapping such as"),
        ({"extra_info": ["easy"]}, "extra_info must be a mapping, got str 'easy'"),
    ],
)
def test_a_row_that_the_trainer_cannot_use_is_named(tmp_path, capsys, columns, message):
    good = {"data_source": ["aime24"], "prompt": [MESSAGES], "reward_model": [{"ground_truth": "4"}]}
    pq.write_table(pa.table(good | columns), tmp_path / "data.parquet")
    assert main(["check", str(tmp_path / "data.parquet")]) == 1
    assert f"row 0: ValueError: {message}" in capsys.readouterr().out


ODD = ["N/A", "none", "It is 4.", "12 or 13", '{"answer": 5}', "Answer unknown, sorry."]
ORDINARY = ["4", "-1/2", "x or", r"\frac{1}{2}", "Evelyn", "(C)", "May 4", "[0, 1)", r"\{1, 2\}", "so $\\boxed{3}$."]


def test_gold_answers_that_nobody_will_match_are_named(write, capsys):
    main(["check", write(*[("aime24", gold) for gold in (*ODD, *ORDINARY)])])
    warnings = [line for line in capsys.readouterr().out.splitlines() if "will hardly match" in line]
    assert len(warnings) == len(ODD)
    for gold in ODD:
        assert any(repr(gold) in line for line in warnings), gold


# Functions of the user's

SCORE = "def score(data_source, solution_str, ground_truth, extra_info):\n    return "


@pytest.fixture
def check_function(write, tmp_path, capsys):
    """Check a function, through the verifier or as verl calls it, on rows with three gold answers."""

    def check(code, *arguments, own=False, golds=("1", "2", "2"), ask="question", score_range="[0, 1]"):
        file = tmp_path / "rewards.py"
        file.write_text(code)
        route = f"default_verifier={{verifier: python_function, path: {file}, name: score, score_range: {score_range}}}"
        how = ["--custom-reward-function", f"{file}:score"] if own else ["--option", route]
        status = main(["check", write(*[("mine", gold) for gold in golds], ask=ask), *how, *arguments])
        return status, capsys.readouterr().out

    return check


def rewards_in(output):
    """The rewards by kind of response."""
    lines = [line.strip().split("  ") for line in output.splitlines() if line.startswith(("  the row's", "  a"))]
    return {line[0]: line[-1].strip() for line in lines if not line[0].startswith("all")}


BOTH = pytest.mark.parametrize("own", [False, True], ids=["verifier", "verl's managers"])


@BOTH
def test_a_function_is_tried_on_the_answers_of_the_rows(check_function, own):
    status, output = check_function(SCORE + "float(solution_str == ground_truth)", own=own)
    assert status == 0
    # The rows 1, 2, 2: another row's answer is 2, 2 (the same, not tried) and 1
    expected = {"the row's own answer": "1 (3)", "an empty response": "0 (3)", "another row's answer": "0 (2)"}
    assert rewards_in(output) == expected
    assert "0 problem(s)" in output


@pytest.mark.parametrize(
    ("ask", "form"),
    [
        (r"Put it in \boxed{}.", r"\boxed{%s}"),
        ("The last line is '#### NUMBER'.", "#### %s"),
        ("Answer in <answer></answer>.", "<answer>%s</answer>"),
    ],
)
def test_the_answers_are_in_the_form_that_the_prompt_asks_for(check_function, ask, form):
    status, output = check_function(SCORE + f"float(solution_str == {form!r} % ground_truth)", ask=ask)
    assert status == 0
    assert rewards_in(output)["the row's own answer"] == "1 (3)"


@BOTH
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("0.0", "all rows: the reward of mine is 0 whatever the response. If it wants another form of answer"),
        ("1.0", "the reward of mine is 1 whatever the response"),
        ("extra_info['nothing']", "row 0 and 2 more: no verdict on the row's own answer: crash, KeyError: 'nothing'"),
        ("1 / len(solution_str)", "no verdict on an empty response: crash, ZeroDivisionError"),
        ("None", "crash, ValueError"),
        ("'good'", "crash, ValueError"),
        ("{'acc': 1.0}", "crash, ValueError"),
        ("float('nan')", "crash, ValueError"),
    ],
)
def test_a_function_that_cannot_teach_is_found(check_function, own, body, message):
    status, output = check_function(SCORE + body, own=own)
    assert status == 1
    assert message in output


def test_an_accuracy_that_is_not_a_number_is_found(check_function):
    status, output = check_function(SCORE + "{'score': 1.0, 'acc': 'yes'}", own=True)
    assert status == 1
    assert "crash, ValueError: could not convert string to float: 'yes'" in output


def test_what_verls_managers_cannot_use_is_found_and_the_verifier_takes_it(check_function):
    code = "import numpy as np\n" + SCORE + "np.float32(solution_str == ground_truth)"
    assert check_function(code)[0] == 0
    status, output = check_function(code, own=True)
    assert status == 1
    assert (
        "verl needs a Python number, or a dict with one as 'score': return float(...) of it, got numpy.float32"
        in output
    )
    as_dict = code.replace("np.float32(solution_str == ground_truth)", "{'score': int(solution_str == ground_truth)}")
    assert check_function(as_dict, own=True)[0] == 0


def test_an_async_function_of_verls_managers(check_function):
    status, output = check_function("async " + SCORE + "float(solution_str == ground_truth)", own=True)
    assert (status, rewards_in(output)["the row's own answer"]) == (0, "1 (3)")


EXAMPLES = "\ndef examples(ground_truth, extra_info):\n    return "


@BOTH
@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("f'={ground_truth}', '=x'", ""),
        (
            "f'={ground_truth}', f'={ground_truth}'",
            "row 0: the wrong answer '=1' is verified as correct (status ok, reward 1)",
        ),
        ("'=x', '=x'", "row 0 and 2 more: the gold answer '=x' is verified as wrong (status ok, reward 0)"),
        ("None, '=x'", "warning: mine: no gold answer to check with (3 times)"),
        ("extra_info['nothing']", "row 0 and 2 more: KeyError: 'nothing'"),
    ],
)
def test_examples_of_the_users_file_are_used(check_function, own, pair, message):
    status, output = check_function(SCORE + "float(solution_str == f'={ground_truth}')" + EXAMPLES + pair, own=own)
    assert status == bool(message)
    assert message in output
    assert "own answer" not in output


BONUS = "1 + 0.5 / (1 + len(solution_str)) if solution_str == ground_truth else 0.0"


def test_a_bonus_needs_its_range(check_function):
    _, output = check_function(SCORE + BONUS, golds=("1", "2", "3"))
    assert "must be within score_range=[0, 1], got 1.25. Widen it in the verifier's own options" in output
    assert "whatever the response" not in output


@pytest.mark.parametrize("pair", ["", EXAMPLES + "ground_truth, 'x'"])
def test_a_bonus_needs_an_accuracy(check_function, pair):
    status, output = check_function(SCORE + BONUS + pair, golds=("1", "2", "3"), score_range="[0, 2]")
    assert status == bool(pair)
    found = (
        "row 0: the gold answer '1' is verified as wrong (status ok, reward 0.625); without"
        if pair
        else ("warning: mine: no response counts as right; without")
    )
    assert found in output
    assert 'without "acc", a response counts as right only at the greatest score: return {"score": ...' in output
    code = SCORE + f"{{'score': {BONUS}, 'acc': solution_str == ground_truth}}" + pair
    status, output = check_function(code, golds=("1", "2", "3"), score_range="[0, 2]")
    assert status == 0
    assert "warning" not in output


def test_a_file_that_is_missing_in_the_lock_down_has_a_hint(check_function):
    _, output = check_function(SCORE + "open('/nowhere/words.txt').read()")
    assert "'/nowhere/words.txt'. A verifier sees no files once it runs: load them when its module is" in output


def test_a_misspelt_function_is_named(write, capsys, tmp_path):
    (tmp_path / "rewards.py").write_text(SCORE + "1.0")
    route = f"default_verifier={{verifier: python_function, path: {tmp_path / 'rewards.py'}, name: scoer}}"
    assert main(["check", write(("mine", "1")), "--option", route]) == 2
    error = capsys.readouterr().err
    assert "has no function 'scoer' (did you mean 'score'?)" in error
    assert "pip install" not in error


def test_a_judge_is_tried_as_well(check_function, write, capsys, tmp_path):
    (tmp_path / "judge.py").write_text(SCORE.replace("score(", "judge(") + "1 / len(solution_str)")
    code = SCORE + "float(solution_str == ground_truth)"
    (tmp_path / "rewards.py").write_text(code)
    judge = f"{{verifier: python_function, path: {tmp_path / 'judge.py'}, name: judge}}"
    route = f"{{verifier: python_function, path: {tmp_path / 'rewards.py'}, name: score, judge: {judge}}}"
    assert main(["check", write(("mine", "1"), ("mine", "2")), "--option", f"default_verifier={route}"]) == 1
    output = capsys.readouterr().out
    assert "row 0 and 1 more: an empty response: no verdict of the judge: crash, ZeroDivisionError" in output


# Given responses


@BOTH
def test_given_responses_are_scored(check_function, tmp_path, own):
    given = tmp_path / "given.jsonl"
    lines = [
        {"index": 2, "response": "2"},
        {"prompt": "question 0", "response": "2"},
        {"input": "<|user|>question 1<|assistant|>\u2028", "output": "2", "gts": "7", "score": 0.0},
        {"prompt": "question 1", "response": "raise"},
    ]
    given.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    code = SCORE + "float(solution_str == ground_truth) if solution_str != 'raise' else 1 / 0"
    file = tmp_path / "all.json"
    status, output = check_function(code, "--responses", str(given), "--json", str(file), own=own)
    assert status == 1
    scored = json.loads(file.read_text())[str(given)]["scored"]
    found = sorted((line["row"], line["reward"], line["status"]) for line in scored)
    assert found == [(0, 0, "ok"), (1, 0, "crash"), (1, 1, "ok"), (2, 1, "ok")]
    assert "row 2: reward 1, acc 1.0, status 'ok'" in output
    assert "row 1: no verdict on a response: crash, ZeroDivisionError" in output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "given.jsonl: Input data was truncated"),
        (
            '{"response": 3}',
            "got `int` - at `$[0].response` (the first line is $[0])",
        ),
        ('{"index": 0}', "line 1: expected a text `response`"),
        ('{"index": 9, "response": "1"}', "no row has the index 9"),
        ('{"prompt": "nobody asked", "response": "1"}', "or the prompt 'nobody asked'"),
    ],
)
def test_responses_to_no_row_are_errors(write, capsys, tmp_path, line, message):
    (tmp_path / "given.jsonl").write_text(line)
    assert main(["check", write(("aime24", "1")), "--responses", str(tmp_path / "given.jsonl")]) == 2
    assert message in capsys.readouterr().err


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
