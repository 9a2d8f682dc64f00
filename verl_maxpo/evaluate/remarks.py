"""Warn the reader about the dumps: what was left out, what is missing and what is repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from verl_maxpo.evaluate.dumps import STATUSES, WITHOUT_VERDICT, Run, Samples

_ByStep = dict[int | None, NDArray[np.int64]]


def remarks(runs: list[Run], n: int | None = None) -> Iterator[str]:
    """Yield warnings; for each run and data source, they describe the step that is affected most.

    Args:
        runs: The runs to look at.
        n: How many samples each prompt should have; None for as many as most prompts of the same cell have.
    """
    for run in runs:
        yield from run.left_out
    for run in runs:
        for source in dict.fromkeys(source for source, _ in run.cells):
            cells = {step: cell for (name, step), cell in run.cells.items() if name == source}
            for remark in (_repeated, _too_few, _too_many, _alike, _without_verdict):
                yield from remark(f"{run.name}, {source}", cells, n)
        yield from _in_several_sources(run)


def _repeated(where: str, cells: dict[int | None, Samples], _: int | None) -> Iterator[str]:
    """Notice a file that was copied or appended to itself. Without a uid, a few responses may be equal by chance."""
    repeated = {}
    for step, cell in cells.items():
        counts = np.unique(cell.line, return_counts=True)[1]
        repeated[step] = counts[counts > 1] if cell.named or counts.min() > 1 else counts[:0]
    step, at = _worst(repeated, np.sum)
    if len(repeated[step]):
        greedy = "" if cells[step].named else "; if sampling was greedy, only k=1 says anything"
        yield (
            f"{where}: {repeated[step].sum()} of {len(cells[step])} samples appear more than once{at}: if a dump was "
            f"copied or written twice, remove the copy, as all numbers except those for k=1 are wrong{greedy}"
        )


def _too_few(where: str, cells: dict[int | None, Samples], n: int | None) -> Iterator[str]:
    missing = {step: np.maximum(_expected(cell, n) - np.bincount(cell.labels), 0) for step, cell in cells.items()}
    step, at = _worst(missing, np.sum)
    samples, prompts = int(missing[step].sum()), int(np.count_nonzero(missing[step]))
    expected = _expected(cells[step], n)
    if samples and n:
        yield (
            f"{where}: {samples} of {n * len(missing[step])} samples are missing{at}, from {prompts} prompts: they "
            "count as wrong, except in max@k, which leaves them out"
        )
    elif samples:
        yield (
            f"{where}: {prompts} of {len(missing[step])} prompts have fewer samples than the others, "
            f"{expected - missing[step].max()} instead of {expected}{at}: verl's dumps lack sessions that failed"
        )


def _too_many(where: str, cells: dict[int | None, Samples], n: int | None) -> Iterator[str]:
    above = {step: np.maximum(np.bincount(cell.labels) - _expected(cell, n), 0) for step, cell in cells.items()}
    step, at = _worst(above, np.count_nonzero)
    expected = _expected(cells[step], n)
    if above[step].any():
        yield (
            f"{where}: {np.count_nonzero(above[step])} of {len(above[step])} prompts have more samples than they "
            f"should, {expected + above[step].max()} instead of {expected}{at}: without a uid, a problem that appears "
            "twice in the data set is one prompt here"
        )


def _expected(cell: Samples, n: int | None) -> int:
    """Return n, or the number of samples that most prompts have.

    If several numbers are equally frequent, return the largest, as samples get lost. Without uids, a problem that
    appears twice is one prompt, so return the smallest if the largest is a multiple of it.
    """
    counts = np.bincount(np.bincount(cell.labels))
    smallest, *_, largest = np.repeat(np.flatnonzero(counts == counts.max()), 2).tolist()
    return n or (smallest if largest % smallest == 0 and not cell.named else largest)


def _alike(where: str, cells: dict[int | None, Samples], _: int | None) -> Iterator[str]:
    alike = max(cell.alike for cell in cells.values())
    if alike:
        yield (
            f"{where}: {alike} prompts have the same text and gold answer as another: between runs or steps they are "
            "matched in the order of the files, so their differences are right on average, but not one by one"
        )


def _without_verdict(where: str, cells: dict[int | None, Samples], _: int | None) -> Iterator[str]:
    failed = {
        step: np.array([np.count_nonzero(cell.status == STATUSES.index(status)) for status in WITHOUT_VERDICT])
        for step, cell in cells.items()
    }
    step, at = _worst(failed, np.sum)
    if failed[step].any():
        kinds = ", ".join(f"{count} {name}" for name, count in zip(WITHOUT_VERDICT, failed[step], strict=True) if count)
        yield (
            f"{where}: {failed[step].sum()} of {len(cells[step])} samples have no verdict ({kinds}){at}: they count "
            "with the score in the dump"
        )


def _in_several_sources(run: Run) -> Iterator[str]:
    sources: dict[bytes, dict[str, None]] = {}
    for (source, _), cell in run.cells.items():
        for key in cell.prompts:
            sources.setdefault(key, {})[source] = None
    shared = [list(names) for names in sources.values() if len(names) > 1]
    if shared:
        names = ", ".join(dict.fromkeys(name for names in shared for name in names))
        yield f"{run.name}: {len(shared)} prompts are in several data sources ({names}) and count in each"


def _worst(by_step: _ByStep, size: Callable[[NDArray[np.int64]], object]) -> tuple[int | None, str]:
    """Return the step that is affected most, and words that name it."""
    step = max(by_step, key=lambda step: int(size(by_step[step])))  # type: ignore[call-overload]
    more = sum(bool(counts.any()) for counts in by_step.values()) - 1
    words = "" if step is None else f" at step {step}"
    return step, words + (f" (as many or fewer at {more} other steps)" if more else "")
