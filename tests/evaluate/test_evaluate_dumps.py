"""Reading dumps: verl's of both trainers, plain ones, and hostile ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from verl_maxpo.evaluate.dumps import Run, Samples, read_runs

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
    for prompt, score in zip(samples.prompt, samples.score, strict=True):
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
    assert list(samples.prompt) == [0, 0, 1, 1]
    assert list(samples.acc) == [0, 1, 0, 1]
    assert samples.pred[0] != 0
    assert len(set(samples.pred)) == 1
    assert run.malformed == []


def test_plain_lines_need_a_prompt_and_a_score(tmp_path: Path) -> None:
    rows = [
        {"prompt_id": 3, "input": "a", "score": 1, "data_source": "aime"},
        {"prompt_id": "3", "input": "b", "score": 2, "data_source": "aime"},
        {"input": "c", "uid": "x", "score": 3, "step": 5},
        {"input": "c", "uid": "y", "score": 4, "step": 5},
        {"uid": "problem_1_0", "score": 5, "step": 5},
        {"uid": "problem_1_1", "score": 6, "step": 5},
    ]
    run = read(write(tmp_path / "7.jsonl", rows))
    assert scores(run.cells["aime", 7]) == [[1, 2]]
    assert scores(run.cells["all", 5]) == [[3, 4], [5], [6]]
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
    assert [number for number, _ in shuffled.malformed[0].first] == [3]


def test_groups_of_training_are_told_apart_by_uid(tmp_path: Path) -> None:
    rows = [
        {"uid": f"{uid}_{session}_0", "input": "the same", "score": session, "data_source": source}
        for uid, source in zip(UIDS, "ab", strict=True)
        for session in range(2)
    ]
    padding = {"uid": f"pad{'0' * 32}_0_0", "input": "", "score": 0.0}
    run = read(write(tmp_path / "1.jsonl", [*rows, padding]), by_uid=True)
    assert scores(run.cells["all", 1]) == [[0, 1], [0, 1]]
    assert run.padding == 1


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
    b'{"score": 1}': "none of `prompt_id`, `input` and `uid`",
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
    [malformed] = run.malformed
    assert malformed.count == 2
    assert [number for number, _ in malformed.first] == [3, 5]
    assert MALFORMED[line] in malformed.first[0][1]
    assert str(malformed).startswith(f"{file}: 2 malformed lines left out (line 3: ")


@pytest.mark.parametrize("rest", [GOOD[:-5], '{"input": "ü'.encode()[:-1]])
def test_a_dump_that_ends_in_mid_line_says_so(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "3.jsonl").write_bytes(GOOD + b"\n" + rest)
    assert str(read(tmp_path).malformed[0]) == (
        f"{tmp_path / '3.jsonl'} ends in mid-line: the run was probably stopped while writing; 1 lines read"
    )


def test_only_the_first_malformed_lines_are_shown(tmp_path: Path) -> None:
    (tmp_path / "3.jsonl").write_bytes(b"\n".join([GOOD, *[b"{"] * 1000, b""]))
    [malformed] = read(tmp_path).malformed
    assert malformed.count == 1000
    assert [number for number, _ in malformed.first] == [2, 3, 4, 5, 6]
    assert str(malformed).endswith("; ...)")


@pytest.mark.parametrize("extra", [b"NaN", b"Infinity", b'"\\ud800"', b'{"deep": [NaN]}'])
def test_what_python_writes_beside_the_score_does_not_matter(tmp_path: Path, extra: bytes) -> None:
    (tmp_path / "3.jsonl").write_bytes(GOOD[:-1] + b', "extra": ' + extra + b"}")
    run = read(tmp_path)
    assert scores(run.cells["all", 3]) == [[1]]
    assert run.malformed == []


def test_a_missing_answer_is_none(tmp_path: Path) -> None:
    rows = [{"input": "q", "score": 0, "pred": pred} for pred in (None, "null", 0, "0", [1], [1])]
    pred = read(write(tmp_path / "a.jsonl", [{"input": "q", "score": 0}, *rows])).cells["all", None].pred
    assert list(pred[:2]) == [0, 0]
    assert 0 not in pred[2:]
    assert len(set(pred[2:])) == 3  # 0 and "0" are one answer


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
