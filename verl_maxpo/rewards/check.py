"""Check a data set against its verifiers before anyone pays for a GPU.

Every gold answer must verify as correct, and a wrong answer as wrong. What fails is a row that no response could solve,
or that any could: in max@K training both are groups without signal, and neither shows as an error.
"""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from tqdm import tqdm

from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.data_files import FORMATS, data_sources_of
from verl_maxpo.rewards.registry import find_verifier
from verl_maxpo.rewards.result import Status, VerifierResult
from verl_maxpo.rewards.routing import SANDBOX_FUSION, Route
from verl_maxpo.rewards.scoring import ResponseScorer

_COLUMNS = ["data_source", "reward_model", "extra_info"]
_BATCH = 256


@dataclass
class Report:
    """What a check found in one file.

    Attributes:
        rows: Rows by data source.
        unchecked: Rows by data source of which only half can be checked, or nothing, with the reason.
        problems: Row number and what is wrong with it.
    """

    rows: Counter[str] = field(default_factory=Counter)
    unchecked: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def lines(self, limit: int = 20) -> Iterator[str]:
        """Describe it, with the first problems."""
        for source, count in sorted(self.rows.items()):
            yield f"{count} rows of {source}"
        for (source, reason), count in sorted(self.unchecked.items()):
            yield f"  {count} of {source} not checked: {reason}"
        for row, problem in self.problems[:limit]:
            yield f"  row {row}: {problem}"
        if len(self.problems) > limit:
            yield f"  ... and {len(self.problems) - limit} more"
        yield f"{len(self.problems)} problem(s)"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON knows it, with all problems."""
        unchecked = [{"data_source": s, "reason": reason, "rows": n} for (s, reason), n in self.unchecked.items()]
        problems = [{"row": row, "problem": problem} for row, problem in self.problems]
        return {"rows": dict(self.rows), "unchecked": unchecked, "problems": problems}


def check_file(path: Path, config: VerifierConfig, *, progress: bool = True) -> Report:
    """Check every row of a parquet or JSON-lines file in verl's schema.

    Args:
        path: The file.
        config: The options that training will have; its time limit applies here as well.
        progress: Whether to show a progress bar.

    Returns:
        What was found.

    Raises:
        ValueError: The file lacks a column, is of another kind, or has a data source that no verifier claims.
    """
    sources = data_sources_of([str(path)])
    if sources is None:
        raise ValueError(f"{path} is no parquet or JSON file")
    return asyncio.run(_check(path, replace(config, data_sources=tuple(sources)), progress))


async def _check(path: Path, config: VerifierConfig, progress: bool) -> Report:
    scorer, report = ResponseScorer(config), Report()
    table = ds.dataset(path, format=FORMATS[path.suffix])
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


async def _check_row(scorer: ResponseScorer, report: Report, number: int, row: dict[str, Any]) -> None:
    source, extra = row["data_source"], row.get("extra_info") or {}
    report.rows[source] += 1
    ground_truth = (row.get("reward_model") or {}).get("ground_truth")
    try:
        right, wrong = _examples(scorer.config.router.find(source), ground_truth, {**extra, "data_source": source})
    except Exception as error:
        report.problems.append((number, f"{type(error).__name__}: {error}"))
        return
    for response, correct, kind in [(right, True, "gold answer"), (wrong, False, "wrong answer")]:
        if response is None:
            report.unchecked[source, f"no {kind} to check with"] += 1
            continue
        result = await scorer.verify(source, response, ground_truth, extra)
        if result.correct != correct or result.status in (Status.CRASH, Status.TIMEOUT):
            report.problems.append((number, _problem(kind, response, result)))
            return


def _problem(kind: str, response: str, result: VerifierResult) -> str:
    verdict = "correct" if result.correct else "wrong"
    reason = f", {result.message}" if result.message else ""
    return f"the {kind} {response[-200:]!r} is verified as {verdict} (status {result.status.value}{reason})"


def _examples(route: Route, ground_truth: Any, extra_info: dict[str, Any]) -> tuple[str | None, str | None]:
    if route.verifier == SANDBOX_FUSION:
        return None, None
    make = _examples_function(route.verifier)
    if make is None:
        return None, ""
    right, wrong = make(ground_truth, extra_info, **route.options)
    return right, wrong


@cache
def _examples_function(verifier: str) -> Any:
    return getattr(importlib.import_module(find_verifier(verifier).module), "examples", None)
