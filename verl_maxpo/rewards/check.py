"""Check a data set against its verifiers before anyone pays for a GPU.

Every gold answer must verify as correct, and a wrong answer as wrong. What fails is a row that no response could solve,
or that any could: in max@K training both are groups without signal, and neither shows as an error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.data_files import SOURCE_COLUMN, Row, first_rows_of, open_table
from verl_maxpo.rewards.isolation.pool import VerifierUnavailableError
from verl_maxpo.rewards.probe import check_options, examples
from verl_maxpo.rewards.result import VerifierResult
from verl_maxpo.rewards.scoring import WITHOUT_VERDICT, ResponseScorer

_COLUMNS = [SOURCE_COLUMN, "reward_model", "extra_info"]
_BATCH = 256


@dataclass
class Report:
    """What a check found in one file.

    Attributes:
        rows: Rows by data source.
        unchecked: Rows by data source of which only half can be checked, or nothing, with the reason.
        refused: Verdicts by data source during which the verifier tried what it may not do, with what that was.
        problems: Row number and what is wrong with it.
    """

    rows: Counter[str] = field(default_factory=Counter)
    unchecked: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every row could be checked and has no problem."""
        return not self.problems and not self.unchecked

    def lines(self, limit: int = 20) -> Iterator[str]:
        """Describe it, with the first problems."""
        for source, count in sorted(self.rows.items()):
            yield f"{count} rows of {source}"
        for (source, reason), count in sorted(self.unchecked.items()):
            yield f"  warning: {count} of {source} not checked: {reason}"
        for (source, tried), count in sorted(self.refused.items()):
            yield f"  warning: the verifier of {source} tried what it may not do, {tried}, {count} times"
        for row, problem in self.problems[:limit]:
            yield f"  row {row}: {problem}"
        if len(self.problems) > limit:
            yield f"  ... and {len(self.problems) - limit} more"
        yield f"{len(self.problems)} problem(s)"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON knows it, with all problems."""
        unchecked = [{"data_source": s, "reason": reason, "rows": n} for (s, reason), n in self.unchecked.items()]
        problems = [{"row": row, "problem": problem} for row, problem in self.problems]
        refused = [{"data_source": s, "tried": tried, "times": n} for (s, tried), n in self.refused.items()]
        return {"rows": dict(self.rows), "unchecked": unchecked, "refused": refused, "problems": problems}


def check_file(path: Path, config: VerifierConfig, *, progress: bool = True) -> Report:
    """Check every row of a parquet or JSON-lines file in verl's schema, with the options that training will have.

    Raises:
        ValueError: The file does not exist, is of another kind, is empty or lacks a column; a row has no data source,
            no verifier claims one, or a verifier cannot be loaded or does not take its options.
    """
    sources = sorted(source for source, _ in first_rows_of(path))
    try:
        return asyncio.run(_check(path, replace(config, data_sources=tuple(sources)), progress))
    except VerifierUnavailableError as error:
        raise ValueError(str(error)) from None


async def _check(path: Path, config: VerifierConfig, progress: bool) -> Report:
    for route in config.router.in_child_processes(config.data_sources):
        check_options(route)
    scorer, report = ResponseScorer(config), Report()
    table = open_table(path)
    columns = [name for name in _COLUMNS if name in table.schema.names]
    try:
        with tqdm(total=table.count_rows(), unit="row", disable=not progress) as bar:
            for batch in table.to_batches(columns=columns, batch_size=_BATCH):
                first = bar.n
                rows = batch.to_pylist()
                await asyncio.gather(*(_check_row(scorer, report, first + i, row) for i, row in enumerate(rows)))
                bar.update(len(rows))
    finally:
        scorer.close()
    report.problems.sort()
    return report


async def _check_row(scorer: ResponseScorer, report: Report, number: int, columns: dict[str, Any]) -> None:
    source, row = columns[SOURCE_COLUMN], Row.of(columns, f"row {number}")
    report.rows[source] += 1
    try:
        known = {**row.extra_info, SOURCE_COLUMN: source}
        right, wrong = examples(scorer.config.router.find(source), row.ground_truth, known)
    except Exception as error:
        report.problems.append((number, f"{type(error).__name__}: {error}"))
        return
    for response, correct, kind in [(right, True, "gold answer"), (wrong, False, "wrong answer")]:
        if response is None:
            report.unchecked[source, f"no {kind} to check with"] += 1
            continue
        result = await scorer.verify(source, response, row.ground_truth, row.extra_info)
        report.refused.update((source, tried) for tried in result.refused)
        if result.correct != correct or result.status in WITHOUT_VERDICT:
            report.problems.append((number, _problem(kind, response, result)))
            return


def _problem(kind: str, response: str, result: VerifierResult) -> str:
    verdict = "correct" if result.correct else "wrong"
    reason = f", {result.message}" if result.message else ""
    return f"the {kind} {response[-200:]!r} is verified as {verdict} (status {result.status.value}{reason})"
