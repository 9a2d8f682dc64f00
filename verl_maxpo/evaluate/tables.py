"""A comparison as tables: for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import rich.table
from rich import box

from verl_maxpo.evaluate.estimates import Interval
from verl_maxpo.evaluate.results import METRICS, VERL, Average, Comparison, Difference, Matching, Side

LEGEND = (
    "[a, b]: 95% confidence interval over prompts, with several seeds of each prompt's mean over them. ±: standard "
    "deviation over seeds. unsolved: prompts without a correct sample. pass@k and max@k are unbiased; verl's best@k "
    "draws with replacement and understates them."
)


@dataclass(frozen=True)
class Table:
    """A table of texts; a cell may have several lines.

    Attributes:
        title: What it shows.
        header: Of each column.
        rows: Of each row, the cells.
    """

    title: str
    header: list[str]
    rows: list[list[str]]

    def rich(self) -> rich.table.Table:
        """Return the table for a console, which must have markup switched off."""
        table = rich.table.Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        for number, heading in enumerate(self.header):
            table.add_column(heading, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown."""
        lines = [self.header, ["---"] + ["---:"] * (len(self.header) - 1), *self.rows]
        table = "\n".join(f"| {' | '.join(map(_markdown, cells))} |" for cells in lines)
        return f"### {_markdown(self.title)}\n\n{table}\n"


def tables(
    comparison: Comparison, *, all_steps: bool = False, metrics: Collection[str] | None = None
) -> Iterator[Table]:
    """Make the tables of a comparison.

    Args:
        comparison: What to show.
        all_steps: Show every step, not only the first and the last of each run.
        metrics: Of :data:`METRICS`; None for all.

    Yields:
        For each data source a table for each metric, and the differences.
    """
    for source in dict.fromkeys(row.data_source for row in comparison.averages):
        chosen = [metric for metric in METRICS if metrics is None or metric in metrics]
        there = {row.metric for row in comparison.averages if row.data_source == source}
        for metric in chosen:
            if metric in there:
                yield _estimates(comparison, source, metric, all_steps)
        compared = {row.metric for row in comparison.differences if row.data_source == source}
        for metric in chosen:
            if metric in compared:
                yield _differences(comparison, source, metric)


def number(value: float) -> str:
    """Format a number.

    >>> number(0.0784), number(-0.5), number(-0.0004), number(12.3456), number(-1e300)
    ('.078', '-.500', '.000', '12.346', '-1e+300')
    """
    if abs(value) >= 1e6:
        return f"{value:.4g}"
    text = f"{round(value, 3) or 0:.3f}"  # no minus before zero
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.endswith("1.000") else text


def _markdown(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())


def _estimates(comparison: Comparison, source: str, metric: str, all_steps: bool) -> Table:
    cells = {(row.label, row.step, row.metric, row.k): row for row in comparison.averages if row.data_source == source}
    ks = [k for k in comparison.ks if any((name, at) == (metric, k) for _, _, name, at in cells)]
    rows = []
    for label in dict.fromkeys(label for label, *_ in cells):
        steps = comparison.steps(label, source)
        for step in steps if all_steps else dict.fromkeys([steps[0], steps[-1]]):
            rows.append(
                [label, *_context(comparison, label, source, step)]
                + [_average(cells.get((label, step, metric, k))) for k in ks]
            )
            if metric == comparison.main_metric(source):
                best = [cells.get((label, step, VERL, k)) for k in ks]
                rows.append([f"  {VERL}", *[""] * 4, *(number(row.value) if row else "" for row in best)])
    heading = ["run", "seeds", "step", "prompts × n", "unsolved"]
    return Table(f"{_prefix(source)}{metric}", heading + [metric.replace("k", str(k)) for k in ks], rows)


def _prefix(source: str) -> str:
    return "" if source == "all" else f"{source}: "


def _context(comparison: Comparison, label: str, source: str, step: int | None) -> list[str]:
    rows = [row for row in comparison.coverage if (row.label, row.data_source, row.step) == (label, source, step)]
    never = [row.never_solved for row in rows if row.never_solved is not None]
    prompts = _range([row.prompts for row in rows])
    n = _range([n for row in rows for n in (row.smallest_n, row.largest_n)])
    return [str(len(rows)), _step(step), f"{prompts} × {n}", number(sum(never) / len(never)) if never else ""]


def _range(values: list[int]) -> str:
    return str(min(values)) if min(values) == max(values) else f"{min(values)}–{max(values)}"


def _step(step: int | None) -> str:
    return "" if step is None else str(step)


def _average(row: Average | None) -> str:
    if row is None:
        return ""
    return number(row.value) + _plus_minus(row.std) + _interval(row.interval)


def _plus_minus(std: float | None) -> str:
    return "" if std is None else f"\n± {number(std)}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"\n[{number(interval.low)}, {number(interval.high)}]"


def _differences(comparison: Comparison, source: str, metric: str) -> Table:
    differences = {
        (row.candidate, row.reference, row.k): row
        for row in comparison.differences
        if (row.data_source, row.metric) == (source, metric)
    }
    ks = [k for k in comparison.ks if any(at == k for *_, at in differences)]
    rows = [
        [_name_of_difference(row.candidate, row.reference), _matched(row), _only_one(row)]
        + [_difference(differences.get((row.candidate, row.reference, k))) for k in ks]
        for row in comparison.matchings
        if row.data_source == source and any((row.candidate, row.reference, k) in differences for k in ks)
    ]
    heading = ["difference", "prompts", "solved only by", *(metric.replace("k", str(k)) for k in ks)]
    return Table(f"{_prefix(source)}differences in {metric} on the same prompts", heading, rows)


def _name_of_difference(candidate: Side, reference: Side) -> str:
    if candidate.label == reference.label:
        return f"{candidate.label}, step\n{_step(candidate.step)} − {_step(reference.step)}"
    return f"{candidate.label} −\n{reference.label}" + ("" if candidate.step is None else f", step {candidate.step}")


def _matched(row: Matching) -> str:
    return f"{row.matched} same" + (f"\n{row.unmatched} other" if row.unmatched else "")


def _only_one(row: Matching) -> str:
    if row.only_candidate is None or row.only_reference is None:
        return ""
    one_run = row.candidate.label == row.reference.label
    candidate, reference = (
        f"step {_step(side.step)}" if one_run else side.label for side in (row.candidate, row.reference)
    )
    return f"{candidate} {number(row.only_candidate)}\n{reference} {number(row.only_reference)}"


def _difference(row: Difference | None) -> str:
    if row is None:
        return ""
    return ("+" if row.value > 0 else "") + number(row.value) + _interval(row.interval) + _plus_minus(row.std)
