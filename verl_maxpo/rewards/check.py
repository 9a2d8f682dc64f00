"""Try the rewards of a data set before anyone pays for a GPU.

Every gold answer must verify as correct, and a wrong answer as wrong. What fails is a row that no response could solve,
or that any could: in max@K training both are groups without signal, and neither shows as an error. A function that says
nothing of right and wrong responses is tried on the answers of the rows, and what it returned is shown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from verl_maxpo.rewards.config import Columns
from verl_maxpo.rewards.data_files import Row, batches_of
from verl_maxpo.rewards.report import Problem, Report
from verl_maxpo.rewards.result import WITHOUT_VERDICT, Status
from verl_maxpo.rewards.scoring import Scored

_SHOWN = 200
_JUDGED = ("gold answer", "wrong answer")
_OTHER_FORM = (
    "If it wants another form of answer, give its file examples(ground_truth, extra_info), which returns a right and a "
    "wrong response, or check --responses"
)


class Scorer(Protocol):
    """Scores responses as a run would: :class:`.scoring.ResponseScorer`, or a ``custom_reward_function``."""

    def examples(
        self, data_source: str, ground_truth: Any, extra_info: Mapping[str, Any]
    ) -> tuple[str | None, str | None] | None:
        """Return a right and a wrong response to a row, each None where there is none; None where nobody can say."""

    def doubt(self, data_source: str, ground_truth: Any) -> str:
        """Return why ordinary responses will hardly match a gold answer, empty where nothing is odd about it."""

    async def score(self, data_source: str, response: str, ground_truth: Any, extra_info: Mapping[str, Any]) -> Scored:
        """Return the reward of a response, and what verl reports beside it."""

    def close(self) -> None:
        """End its processes."""


class _Try(NamedTuple):
    kind: str
    response: Any
    correct: bool | None  # what it must count as; None where nobody can say


async def check_file(path: Path, scorer: Scorer, columns: Columns, *, progress: bool = True) -> Report:
    """Check every row of a parquet or JSON-lines file in verl's schema; ``progress`` shows a bar.

    Raises:
        ValueError: The file is missing, of another kind, empty or lacks a column, or a row has no data source.
        VerifierUnavailableError: A verifier cannot be loaded.
    """
    report = Report()
    with tqdm(unit="row", disable=not progress) as bar:
        for batch in batches_of(path, columns):
            others = batch[1:] + batch[:1]
            rows = enumerate(zip(batch, others, strict=True), bar.n)
            await asyncio.gather(*(try_row(scorer, report, i, row, other, columns) for i, (row, other) in rows))
            bar.update(len(batch))
    judge_sources(report)
    report.problems.sort(key=lambda problem: -1 if problem.row is None else problem.row)
    return report


async def check_responses(given: Path, files: list[Path], scorer: Scorer, columns: Columns) -> Report:
    """Score given responses to the rows of some files.

    Args:
        given: JSON lines: a dump of verl, or lines with ``response`` and the row's number as ``index`` or its
            ``prompt``.
        files: The rows.
        scorer: As :func:`check_file`.
        columns: As :func:`check_file`.

    Raises:
        ValueError: As :func:`check_file`, or a line has no response or belongs to no row.
    """
    rows = [Row.of(values, columns) for file in files for batch in batches_of(file, columns) for values in batch]
    responses, report = list(_given(given, rows)), Report()
    report.rows.update(rows[number].source for number in {number for number, _ in responses})
    await asyncio.gather(*(_score(scorer, report, number, rows[number], response) for number, response in responses))
    return report


async def try_row(
    scorer: Scorer, report: Report, number: int, values: Mapping[str, Any], other: Mapping[str, Any], columns: Columns
) -> None:
    """Try the reward of a row on a right and a wrong response, or on what the rows hold; ``other`` is another row."""
    report.rows[values[columns.source]] += 1
    try:
        row = Row.of(values, columns)
        pair = scorer.examples(row.source, row.ground_truth, row.extra_info)
    except Exception as error:
        report.problems.append(Problem(number, f"{type(error).__name__}: {error}", stops=True))
        return
    if doubt := scorer.doubt(row.source, row.ground_truth):
        report.warnings[row.source, f"a gold answer that ordinary responses will hardly match, {doubt}"] += 1
    for response, kind in zip(pair or (), _JUDGED, strict=False):
        if response is None:
            report.unchecked[row.source, f"no {kind} to check with"] += 1
    for each in _tries(pair, row, other):
        scored = await scorer.score(row.source, each.response, row.ground_truth, row.extra_info)
        report.tallies[row.source, each.kind].add(scored)
        if problem := _problem(number, each, scored):
            report.problems.append(problem)
            if each.correct is not None:
                return
        elif scored.columns["status"] == Status.OK and scored.columns["reason"]:
            report.warnings[row.source, scored.columns["reason"]] += 1


def _problem(number: int, each: _Try, scored: Scored) -> Problem | None:
    status, reason = Status(scored.columns["status"]), scored.columns["reason"]
    if status in WITHOUT_VERDICT:
        stops = each.correct is not None and status is Status.CRASH
        return Problem(number, f"no verdict on {_named(each)}: {status.value}, {reason}", stops)
    if None in scored.values.values():
        return Problem(number, f"{_named(each)}: {reason or 'values are missing'}")
    if each.correct is not None and scored.columns["acc"] != each.correct:
        verdict = "wrong" if each.correct else "correct"
        why = f"status {status.value}" + (f", {reason}" if reason else "")
        return Problem(number, f"{_named(each)} is verified as {verdict} ({why})")
    return None


def judge_sources(report: Report) -> None:
    """Add what shows only in all the rows of a source: a function that says the same of every response."""
    for source in report.rows:
        tallies = [tally for (of, kind), tally in report.tallies.items() if of == source and kind not in _JUDGED]
        rewards = set().union(*(tally.rewards for tally in tallies))
        if len(tallies) > 1 and not rewards:
            report.problems.append(Problem(None, f"the reward of {source} fails on every response", stops=True))
        elif len(tallies) > 1 and len(rewards) == 1:
            text = f"the reward of {source} is {rewards.pop():g} whatever the response. {_OTHER_FORM}"
            report.problems.append(Problem(None, text))


def _tries(pair: tuple[str | None, str | None] | None, row: Row, other: Mapping[str, Any]) -> list[_Try]:
    if pair is not None:
        known = [_Try(_JUDGED[0], pair[0], True), _Try(_JUDGED[1], pair[1], False)]
    else:
        reward_model = other["reward_model"] if isinstance(other.get("reward_model"), Mapping) else {}
        own, others = _text(row.extra_info.get("solution") or row.ground_truth), _text(reward_model.get("ground_truth"))
        kinds = {"the row's own answer": own, "an empty response": "", "another row's answer": others}
        known = [_Try(kind, text, None) for kind, text in kinds.items() if kind.startswith("the") or text != own]
    return [each for each in known if each.response is not None]


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float) else None


def _named(each: _Try) -> str:
    return each.kind if each.correct is None else f"the {each.kind} {each.response[-_SHOWN:]!r}"


def _given(path: Path, rows: list[Row]) -> Iterator[tuple[int, str]]:
    """Yield the row's number and the response of each line."""
    by_prompt: dict[str, int | None] = {}
    for number, row in enumerate(rows):
        by_prompt.setdefault(row.prompt, number)
    for line_number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {line_number}: not JSON ({error})") from None
        response = line.get("response", line.get("output")) if isinstance(line, dict) else None
        if not isinstance(response, str):
            raise ValueError(f"{path}, line {line_number}: expected a text `response` (or verl's `output`)")
        index, prompt = line.get("index"), str(line.get("prompt", line.get("input")))
        if isinstance(index, int) and 0 <= index < len(rows):
            yield index, response
            continue
        if prompt not in by_prompt:  # verl's dumps have the prompt in its chat template
            inside = [i for i, row in enumerate(rows) if row.prompt and row.prompt in prompt]
            by_prompt[prompt] = max(inside, key=lambda i: len(rows[i].prompt), default=None)
        found = by_prompt[prompt]
        if found is None:
            raise ValueError(
                f"{path}, line {line_number}: no row has the index {index!r} or the prompt {prompt[:60]!r}"
            )
        yield found, response


async def _score(scorer: Scorer, report: Report, number: int, row: Row, response: str) -> None:
    scored = await scorer.score(row.source, response, row.ground_truth, row.extra_info)
    report.tallies[row.source, "given responses"].add(scored)
    report.scored.append({"row": number, "reward": scored.reward, **scored.columns, **scored.values})
    if problem := _problem(number, _Try("a response", response, None), scored):
        report.problems.append(problem)
