"""Reading dumps: verl's of both trainers, plain ones, and hostile ones."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from verl_maxpo.evaluate.dumps import Run, Samples, read_runs
from verl_maxpo.evaluate.remarks import remarks

UIDS = ["011c2c93-f9ab-417f-a3f9-0311d5260a2a", "f47ac10b-58cc-4372-a567-0e02b2c3d479"]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def read(path: Path, **options: bool) -> Run:
    [run] = read_runs([path], **options)
    return run


def scores(samples: Samples) -> list[list[float]]:
    """The scores of each prompt."""
    found: list[list[float]] = [[] for _ in samples.prompts]
    for prompt, score in zip(samples.labels, samples.score, strict=True):
        found[prompt].append(score)
    return found


def test_validation_dumps_of_a_run(tmp_path: Path) -> None:
    rows = [
        {"input": text, "output": "…" * 1000, "gts": None, "score": 0.25, "reward": 0.25, "acc": acc, "pred": "7"}
        for text in ("π?", "e?")
        for acc in (0.0, True)
    ]
    for step in (10, 9):
        write(tmp_path / "maxpo-seed12" / "validation" / f"{step}.jsonl", [row | {"step": step} for row in rows])
    write(tmp_path / "maxpo-seed12" / "else.jsonl", rows)
    run = read(tmp_path / "maxpo-seed12")
    assert (run.name, run.label, run.seed) == ("maxpo-seed12", "maxpo", "12")
    assert list(run.cells) == [("all", 9), ("all", 10)]
    samples = run.cells["all", 9]
    assert list(samples.labels) == [0, 0, 1, 1]
    assert list(samples.acc) == [0, 1, 0, 1]
    assert samples.answer[0] != 0
    assert len(set(samples.answer)) == 1
    assert run.left_out == []


def test_plain_lines_need_a_prompt_and_a_score(tmp_path: Path) -> None:
    rows = [
        {"prompt_id": 3, "input": "a", "score": 1, "data_source": "aime"},
        {"prompt_id": "3", "input": "b", "score": 2, "data_source": "aime"},
        {"input": "c", "score": 3, "step": 5},
        {"input": "c", "gts": None, "score": 4, "step": 5},
        {"input": "c", "gts": "d", "score": 7, "step": 5},
        {"uid": "problem_1_0", "score": 5, "step": 5},
        {"uid": "problem_1_1", "score": 6, "step": 5},
    ]
    run = read(write(tmp_path / "7.jsonl", rows))
    assert scores(run.cells["aime", 7]) == [[1, 2]]
    assert scores(run.cells["all", 5]) == [[3], [4], [7], [5], [6]]
    assert all(math.isnan(acc) for acc in run.cells["all", 5].acc)


def test_the_same_prompt_has_the_same_key_in_every_run(tmp_path: Path) -> None:
    rows = [{"input": text, "uid": f"{uid}_0_0", "score": 0} for text, uid in zip("ab", UIDS, strict=True)]
    other = [row | {"uid": uid} for row, uid in zip(reversed(rows), UIDS, strict=True)]
    paths = [write(tmp_path / "one.jsonl", rows), write(tmp_path / "two.jsonl", other)]
    one, two = (run.cells["all", None].prompts for run in read_runs(paths))
    assert one.keys() == two.keys()
    assert one != two


def test_a_session_of_several_rows_is_one_sample(tmp_path: Path) -> None:
    """The last row has the score, the first the prompt."""
    rows = [
        {"uid": f"{UIDS[0]}_0_0", "input": "q", "score": 0.0, "acc": 0},
        {"uid": f"{UIDS[0]}_0_1", "input": "q, tool", "score": 0.5, "acc": 0},
        {"uid": f"{UIDS[0]}_0_2", "input": "q, tool, tool", "score": 1.0, "acc": 1, "pred": 5},
        {"uid": f"{UIDS[0]}_1_0", "input": "q", "score": 0.0, "acc": 0},
        {"uid": f"{UIDS[1]}_0_0", "input": "r", "score": 2.0, "acc": 1},
    ]
    samples = read(write(tmp_path / "1.jsonl", rows)).cells["all", 1]
    assert scores(samples) == [[1.0, 0.0], [2.0]]
    assert list(samples.acc) == [1, 0, 1]
    shuffled = read(write(tmp_path / "2.jsonl", [rows[0], rows[3], rows[1]]))
    assert scores(shuffled.cells["all", 2]) == [[0.0, 0.0]]
    assert "1 malformed lines left out (line 3: a later row of a session does not follow" in shuffled.left_out[0]


def test_groups_of_training_are_told_apart_by_uid(tmp_path: Path) -> None:
    rows = [
        {"uid": f"{uid}_{session}_0", "input": "the same", "score": session, "data_source": source}
        for uid, source in zip(UIDS, "ab", strict=True)
        for session in range(2)
    ]
    padding = {"uid": f"pad{'0' * 32}_0_0", "input": "", "score": 0.0}
    run = read(write(tmp_path / "1.jsonl", [*rows, padding]))
    assert [scores(run.cells[source, 1]) for source in "ab"] == [[[0, 1]], [[0, 1]]]
    assert run.left_out == ["1: 1 padding rows of verl's trainer left out"]


GOOD = b'{"input": "q", "score": 1}'
MALFORMED = {
    b"{": "truncated",
    b"nonsense": "malformed",
    b"[1, 2]": "Expected `object`",
    b'{"input": "q"}': "no finite number in `score`",
    b'{"input": "q", "score": null}': "no finite number in `score`",
    b'{"input": "q", "score": NaN}': "no finite number in `score`",
    b'{"input": "q", "score": -Infinity}': "no finite number in `score`",
    b'{"input": "q", "score": 1e999}': "out of range",
    b'{"input": "q", "score": "1"}': "got `str` - at `$.score`",
    b'{"input": "q", "score": [1]}': "got `array` - at `$.score`",
    b'{"score": 1}': "none of `prompt_id`, `input`, `prompt` and `uid`",
    b'{"input": 5, "score": 1}': "`$.input`",
    b'{"input": "q", "score": 1, "acc": "yes"}': "`$.acc`",
    b'{"input": "q", "score": 1, "step": "late"}': "`$.step`",
    b'{"input": "\xff", "score": 1}': "can't decode byte 0xff",
    b'{"input": "q", "score": 1, "output": "\xff"}': "can't decode byte 0xff",
    b'{"input": "q", "score": 1, "deep": ' + b"[" * 100_000: "recursion",
    b'{"input": "q", "score": 1, "outp': "invalid character (byte 32)",
}


@pytest.mark.parametrize("line", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_lines_are_counted(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "3.jsonl"
    file.write_bytes(b"\n".join([GOOD, b"  ", line, GOOD, line, b""]))
    run = read(file)
    assert scores(run.cells["all", 3]) == [[1, 1]]
    assert all(len(samples) for samples in run.cells.values())
    [said] = run.left_out
    assert re.fullmatch(rf"{file}: 2 malformed lines left out \(line 3: (.*); line 5: \1\)", said)
    assert MALFORMED[line] in said


@pytest.mark.parametrize("rest", [GOOD[:-5], '{"input": "ü'.encode()[:-1]])
def test_a_dump_that_ends_in_mid_line_says_so(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "3.jsonl").write_bytes(GOOD + b"\n" + rest)
    assert read(tmp_path).left_out == [
        f"{tmp_path / '3.jsonl'} ends in mid-line: the run was probably stopped while writing; 1 lines read"
    ]


def test_only_the_first_malformed_lines_are_shown(tmp_path: Path) -> None:
    (tmp_path / "3.jsonl").write_bytes(b"\n".join([GOOD, *[b"{"] * 1000, b""]))
    [said] = read(tmp_path).left_out
    assert "1000 malformed lines" in said
    assert re.findall(r"line (\d+)", said) == ["2", "3", "4", "5", "6"]
    assert said.endswith("; ...)")


@pytest.mark.parametrize("extra", [b"NaN", b"Infinity", b'"\\ud800"', b'{"deep": [NaN]}'])
def test_what_python_writes_beside_the_score_does_not_matter(tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "3.jsonl").write_bytes(GOOD[:-1] + b', "extra": ' + extra + b"}")
    run = read(tmp_path)
    assert scores(run.cells["all", 3]) == [[1]]
    assert run.left_out == []


def test_a_missing_answer_is_none(tmp_path: Path) -> None:
    answers = (None, "", " \n", "null", 0, "0", [1], [1], "x=1", "1")
    rows = [{"input": "q", "score": 0, column: answer} for column in ("answer", "pred") for answer in answers]
    samples = read(write(tmp_path / "a.jsonl", [{"input": "q", "score": 0}, *rows])).cells["all", None]
    assert samples.without_answer == 1
    for found in (samples.answer[1:11].tolist(), samples.answer[11:].tolist()):
        assert found[:3] == [0, 0, 0]
        assert 0 not in found[3:]
        assert len(set(found[3:])) == 5  # 0 and "0" are one answer; "x=1" and "1", as they stand, are two


def test_names_take_as_much_of_the_path_as_they_need(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / run / "validation" / "5.jsonl", [{"input": "q", "score": 0}])
        for run in ("a-seed1", "a-seed2", "b")
    ]
    assert [run.name for run in read_runs(paths[:1])] == ["5"]
    runs = read_runs(paths)
    assert [run.name for run in runs] == ["a-seed1/validation/5", "a-seed2/validation/5", "b/validation/5"]
    assert [(run.label, run.seed) for run in runs[:2]] == [("a/validation/5", "1"), ("a/validation/5", "2")]
    with pytest.raises(ValueError, match="every run must be given once"):
        read_runs([paths[0], paths[0]])


def test_nothing_to_read_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"looked for .*validation/\*\.jsonl and .*trainer\.validation_data_dir"):
        read_runs([tmp_path])
    with pytest.raises(ValueError, match="nothing does not exist"):
        read_runs([tmp_path / "nothing"])
    (tmp_path / "1.jsonl").write_text('{"score": 1}\n')
    with pytest.raises(ValueError, match=r"has no samples: expected JSON lines with `score`(.|\n)*line 1: none of"):
        read_runs([tmp_path])


def samples_of(uid: str, right: int, n: int = 4, **fields: Any) -> list[dict[str, Any]]:
    """The samples of one prompt, as verl's V1 trainer writes them."""
    row = {"input": "<image> What is it?", "step": 1} | fields
    return [
        row | {"uid": f"{uid}_{session}_0", "output": f"{session}", "score": float(session < right)}
        for session in range(n)
    ]


def said(*paths: Path) -> list[str]:
    return list(remarks(read_runs(list(paths))))


def test_prompts_of_equal_text_are_told_apart(tmp_path: Path) -> None:
    """As in sets of pictures: by uid where there is one, else by the gold answer; and matched by that between runs."""
    cat, dog = (samples_of(uid, right, gts=gold) for uid, right, gold in zip(UIDS, [1, 3], ["cat", "dog"], strict=True))
    one = write(tmp_path / "one.jsonl", [*cat, *dog])
    new = write(tmp_path / "new.jsonl", [*samples_of(UIDS[0], 3, gts="dog"), *samples_of(UIDS[1], 1, gts="cat")])
    rows = [{name: value for name, value in row.items() if name != "uid"} for row in [*dog, *cat]]
    plain = write(tmp_path / "plain.jsonl", rows)
    by_prompt = [
        {key: scores(run.cells["all", 1])[number] for key, number in run.cells["all", 1].prompts.items()}
        for run in read_runs([one, new, plain])
    ]
    assert by_prompt[0] == by_prompt[1] == by_prompt[2]
    assert sorted(map(sum, by_prompt[0].values())) == [1, 3]
    assert said(one, new, plain) == []


def test_prompts_of_equal_text_and_gold_answer_are_matched_in_order_and_that_is_said(tmp_path: Path) -> None:
    rows = [*samples_of(UIDS[0], 1, gts="cat"), *samples_of(UIDS[1], 3, gts="cat")]
    runs = read_runs([write(tmp_path / f"{name}.jsonl", rows) for name in "ab"])
    first, second = (run.cells["all", 1].prompts for run in runs)
    assert first == second
    assert len(first) == 2
    [remark] = remarks(runs[:1])
    assert remark.startswith("a, all: 2 prompts have the same text and gold answer as another: between runs or steps")


@pytest.mark.parametrize("uid", [True, False])
@pytest.mark.parametrize("way", ["appended", "a copy beside it", "each line twice", "the last one only"])
def test_lines_that_stand_twice_are_noticed(tmp_path: Path, uid: bool, way: str) -> None:
    rows = [*samples_of(UIDS[0], 1, input="p"), *samples_of(UIDS[1], 3, input="q")]
    if not uid:
        rows = [{name: value for name, value in row.items() if name != "uid"} for row in rows]
    write(tmp_path / "1.jsonl", rows)
    assert said(tmp_path) == []
    if way == "a copy beside it":
        write(tmp_path / "1 (copy).jsonl", rows)
    else:
        twice = {"appended": rows * 2, "each line twice": [row for row in rows for _ in range(2)]}
        write(tmp_path / "1.jsonl", twice.get(way, [*rows, rows[-1]]))
    [remark, *_] = said(tmp_path)
    count = {"the last one only": "2 of 9"}.get(way, "16 of 16")
    if uid or count != "2 of 9":
        assert remark.startswith(f"{tmp_path.name}, all: {count} samples appear more than once at step 1: if a dump")
        assert ("greedy" in remark) != uid
    else:  # two responses may be the same
        assert "1 of 2 prompts have fewer samples than the others" in remark


def test_lines_without_responses_may_well_be_the_same(tmp_path: Path) -> None:
    assert said(write(tmp_path / "1.jsonl", [{"input": "p", "score": 1.0}] * 4)) == []


def test_samples_without_a_verdict_are_said(tmp_path: Path) -> None:
    """Of new dumps by their status, of old ones by `unscored`; a refused answer is wrong."""
    rows = samples_of(UIDS[0], 1)
    new = [row | {"status": of} for row, of in zip(rows, ["refused", "timeout", "crash", "no_answer"], strict=True)]
    old = [row | {"unscored": float(i < 3)} for i, row in enumerate(rows)]
    own = [row | {"status": of} for row, of in zip(rows, [3, "crashed", None, ["ok"]], strict=True)]
    files = [write(tmp_path / f"{name}.jsonl", of) for name, of in (("new", new), ("old", old), ("own", own))]
    assert said(*files) == [
        f"{which} samples have no verdict ({kinds}) at step 1: they count with the score in the dump"
        for which, kinds in [("new, all: 2 of 4", "1 timeout, 1 crash"), ("old, all: 3 of 4", "3 unscored")]
    ]


def test_the_column_to_select_by(tmp_path: Path) -> None:
    values = [0.5, True, None, "high", float("nan"), [1]]
    rows = [{"input": "p", "score": 0.25, "judge": value} for value in values]
    file = write(tmp_path / "a.jsonl", rows)
    [run] = read_runs([file], "judge")
    found = run.cells["all", None].selector
    assert found[:2].tolist() == [0.5, 1]
    assert all(map(math.isnan, found[2:]))
    assert read_runs([file], "score")[0].cells["all", None].selector.tolist() == [0.25] * 6
    with pytest.raises(ValueError, match=r"--select-by judgement needs a column with numbers: .*it has score, judge;"):
        read_runs([file], "judgement")
    with pytest.raises(ValueError, match="--select-by input needs a column with numbers"):
        read_runs([file], "input")
