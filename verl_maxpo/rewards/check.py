"""Try the rewards of a data set before anyone pays for a GPU.

Every gold answer must be verified as correct, and a wrong answer as wrong. Otherwise no response could solve the row,
or any could: in max@K training both are groups without signal, and neither shows as an error. A function without
examples of right and wrong responses is tried on answers of the rows, and the report shows what it returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from tqdm import tqdm

from verl_maxpo.rewards.config import Columns
from verl_maxpo.rewards.data_files import Row, batches_of
from verl_maxpo.rewards.report import Problem, Report
from verl_maxpo.rewards.result import WITHOUT_VERDICT, Status
from verl_maxpo.rewards.routing import Route
from verl_maxpo.rewards.scoring import Scored, with_source

_SHOWN = 200
_JUDGED = ("gold answer", "wrong answer")
#: What a prompt has that asks for a form of answer, and the form.
_FORMS = {"\\boxed": "\\boxed{%s}", "####": "#### %s", "<answer>": "<answer>%s</answer>"}
_OTHER_FORM = (
    "If it wants another form of answer, give its file examples(ground_truth, extra_info), which returns a right and a "
    "wrong response, or check --responses"
)
_ACC = (
    'without "acc", a response counts as right only at the greatest score: return {"score": ..., "acc": 1.0 or 0.0}, '
    "or pass@k would be 0"
)


class Scorer(Protocol):
    """Scores responses as a run would: :class:`.scoring.ResponseScorer`, or a ``custom_reward_function``."""

    def route(self, data_source: str) -> Route:
        """Return the route of a data source, whose verifier may have examples."""

    async def score(self, data_source: str, response: str, ground_truth: Any, extra_info: Mapping[str, Any]) -> Scored:
        """Return the reward of a response, and what verl reports beside it."""

    def close(self) -> None:
        """End its processes."""


class _Try(NamedTuple):
    kind: str
    response: str
    correct: bool | None  # what it must count as; None if nobody can say


async def check_file(path: Path, scorer: Scorer, columns: Columns) -> Report:
    """Check every row of a parquet or JSON-lines file in verl's schema.

    Raises:
        ValueError: The file is missing, of another kind, empty or lacks a column, or a row has no data source.
        VerifierUnavailableError: A verifier cannot be loaded.
    """
    report = Report()
    with tqdm(unit="row") as bar:
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

    ``given`` has JSON lines: a dump of verl, or lines with ``response`` and either the row's number as ``index`` or its
    ``prompt``.

    Raises:
        ValueError: As :func:`check_file`, or a line has no response or belongs to no row.
    """
    rows = [Row.of(values, columns) for file in files for batch in batches_of(file, columns) for values in batch]
    responses, report = list(_given(given, rows)), Report()
    report.rows.update(rows[number].source for number in {number for number, _ in responses})

    async def score(number: int, response: str) -> None:
        scored = await _score(scorer, report, number, rows[number], _Try("a response", response, None))
        report.scored.append({"row": number, "reward": scored.reward, **scored.columns, **scored.values})

    await asyncio.gather(*(score(number, response) for number, response in responses))
    return report


async def try_row(
    scorer: Scorer, report: Report, number: int, values: Mapping[str, Any], other: Mapping[str, Any], columns: Columns
) -> None:
    """Try the reward of a row on a right and a wrong response, or on what the rows hold; ``other`` is another row."""
    report.rows[values[columns.source]] += 1
    try:
        row = Row.of(values, columns)
        route = scorer.route(row.source)
        pair = route.examples(row.ground_truth, with_source(row.extra_info, row.source))
    except Exception as error:
        report.problems.append(Problem(number, f"{type(error).__name__}: {error}", stops=True))
        return
    if doubt := route.doubt(row.ground_truth):
        report.warnings[f"{row.source}: ordinary responses will hardly match a gold answer, {doubt}"] += 1
    for response, kind in zip(pair or (), _JUDGED, strict=False):
        if response is None:
            report.unchecked[f"{row.source}: no {kind} to check with"] += 1
    for each in _tries(pair, row, other):
        problems = len(report.problems)
        scored = await _score(scorer, report, number, row, each)
        if each.correct is not None and len(report.problems) > problems:
            return
        if scored.columns["status"] == Status.OK and scored.columns["reason"]:
            report.warnings[f"{row.source}: {scored.columns['reason']}"] += 1


def judge_sources(report: Report) -> None:
    """Add what only all rows of a source together show: the reward is always the same, or no response is right."""
    for source, tried in report.tallies.items():
        tallies = [tally for kind, tally in tried.items() if kind not in _JUDGED]
        rewards = set().union(*(tally.rewards for tally in tallies))
        if len(tallies) > 1 and not rewards:
            report.problems.append(Problem(None, f"the reward of {source} fails on every response", stops=True))
        elif len(tallies) > 1 and len(rewards) == 1 and all(tally.rewards for tally in tallies):
            text = f"the reward of {source} is {rewards.pop():g} whatever the response. {_OTHER_FORM}"
            report.problems.append(Problem(None, text))
        elif len(rewards) > 1 and not any(tally.right for tally in tallies):
            times = sum(tally.outcomes.total() for tally in tallies)
            report.warnings[f"{source}: no response counts as right; {_ACC}"] += times


def _tries(pair: tuple[str | None, str | None] | None, row: Row, other: Mapping[str, Any]) -> list[_Try]:
    if pair is not None:
        judged = zip(_JUDGED, pair, (True, False), strict=True)
        return [_Try(kind, response, correct) for kind, response, correct in judged if response is not None]
    reward_model = other["reward_model"] if isinstance(other.get("reward_model"), Mapping) else {}
    form = next((form for mark, form in _FORMS.items() if mark in row.prompt), "%s")
    own = _text(row.extra_info.get("solution")) or _text(row.ground_truth, form)
    others = _text(reward_model.get("ground_truth"), form)
    tries = {"the row's own answer": own, "an empty response": "", "another row's answer": others}
    distinct = {kind: response for kind, response in tries.items() if kind.startswith("the") or response != own}
    return [_Try(kind, response, None) for kind, response in distinct.items() if response is not None]


def _text(value: Any, form: str = "%s") -> str | None:
    return form % value if isinstance(value, str | int | float) else None


async def _score(scorer: Scorer, report: Report, number: int, row: Row, each: _Try) -> Scored:
    """Score a response and count what became of it."""
    scored = await scorer.score(row.source, each.response, row.ground_truth, row.extra_info)
    report.tallies[row.source][each.kind].add(scored)
    if problem := _problem(number, each, scored):
        report.problems.append(problem)
    return scored


def _problem(number: int, each: _Try, scored: Scored) -> Problem | None:
    status, reason = Status(scored.columns["status"]), scored.columns["reason"]
    tried = each.kind if each.correct is None else f"the {each.kind} {each.response[-_SHOWN:]!r}"
    if status in WITHOUT_VERDICT:
        stops = each.correct is not None and status is Status.CRASH
        return Problem(number, f"no verdict on {tried}: {status.value}, {reason}", stops)
    if None in scored.values.values():
        return Problem(number, f"{tried}: {reason or 'values are missing'}")
    if each.correct is not None and scored.columns["acc"] != each.correct:
        verdict = "wrong" if each.correct else "correct"
        why = f"status {status.value}, reward {scored.reward:g}" + (f", {reason}" if reason else "")
        hint = f"; {_ACC}" if each.correct and scored.reward > 0 else ""
        return Problem(number, f"{tried} is verified as {verdict} ({why}){hint}")
    return None


class _Given(msgspec.Struct):
    """A line of given responses; verl's dumps have ``input`` and ``output``."""

    index: int | None = None
    prompt: str = ""
    input: str = ""
    response: str | None = None
    output: str | None = None


def _given(path: Path, rows: list[Row]) -> Iterator[tuple[int, str]]:
    """Yield the row's number and the response of each line."""

    @cache
    def row_of(prompt: str) -> int:
        inside = [i for i, row in enumerate(rows) if row.prompt and row.prompt in prompt]  # with its chat template
        return max(inside, key=lambda i: len(rows[i].prompt), default=-1)

    try:
        lines = msgspec.json.Decoder(_Given).decode_lines(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: {error} (the first line is $[0])") from None
    for number, line in enumerate(lines, 1):
        response = line.output if line.response is None else line.response
        if response is None:
            raise ValueError(f"{path}, line {number}: expected a text `response` (or verl's `output`)")
        prompt = line.prompt or line.input
        index = row_of(prompt) if line.index is None else line.index
        if not 0 <= index < len(rows):
            raise ValueError(f"{path}, line {number}: no row has the index {line.index} or the prompt {prompt[:60]!r}")
        yield index, response
