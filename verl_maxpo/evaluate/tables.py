"""Show a comparison as tables: for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import rich.table
from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from verl_maxpo.evaluate.dumps import VOTE
from verl_maxpo.evaluate.estimates import Interval
from verl_maxpo.evaluate.results import METRICS, STATUS, Comparison, Coverage, Difference, Estimate, Matching, Side

_LEGEND = (
    "[a, b]: 95% confidence interval over prompts, after averaging each prompt over the seeds. ±: standard deviation "
    "over seeds. unsolved: prompts without a correct sample. solved by one only: prompts that only the first of the "
    "two solves, then those that only the second solves. pass@k and max@k are unbiased."
)

#: Tables fit into this many characters, which every terminal has.
WIDTH = 80
_KEY_WIDTH = 22


@dataclass(frozen=True)
class Table:
    """A table of texts; a cell may have several lines.

    Attributes:
        title: What the table shows.
        header: The heading of each column.
        rows: The cells of each row.
        keys: How many of the first columns say what a row is about.
        about: For each row, the lines that a terminal shows instead of these columns.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    keys: int = 1
    about: list[str] | None = None

    def rich(self) -> Iterator[Group]:
        """Make tables of :data:`WIDTH` characters for a console, which must have markup switched off.

        The columns that say what a row is about become one. Other columns that do not fit go into further tables.
        """
        first = self.about or [row[0] for row in self.rows]
        others = [[cell.replace(", ", ",\n") for cell in row[self.keys :]] for row in self.rows]
        header = self.header[self.keys :]
        widths = [max(map(_width, column)) + 2 for column in zip(header, *others, strict=True)]
        key_width = min(_KEY_WIDTH, max(map(_width, [self.header[0], *first]))) + 2
        for start, end in _parts(widths, WIDTH - key_width):
            title = self.title if start == 0 else f"{self.title}, continued"
            table = rich.table.Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
            table.add_column(self.header[0], overflow="fold", max_width=WIDTH - sum(widths[start:end]) - 4)
            for heading in header[start:end]:
                table.add_column(heading, justify="right", no_wrap=True)
            for key, row in zip(first, others, strict=True):
                table.add_row(key, *row[start:end])
            yield Group(Text(title), table)

    def markdown(self) -> str:
        """Return the table in GitHub's Markdown."""
        lines = [self.header, ["---"] + ["---:"] * (len(self.header) - 1), *self.rows]
        table = "\n".join(f"| {' | '.join(map(_markdown, cells))} |" for cells in lines)
        return f"### {_markdown(self.title)}\n\n{table}\n"


def tables(
    comparison: Comparison,
    *,
    all_steps: bool = False,
    metrics: Collection[str] = (*METRICS, STATUS),
    sources: Collection[str] | None = None,
) -> Iterator[Table]:
    """Make a table of each metric and a table of its differences, for each data source.

    Args:
        comparison: The comparison to show.
        all_steps: Show every step, not only the first and the last of each run.
        metrics: Some of :data:`METRICS`, or ``status``.
        sources: Some of the data sources; None for all.
    """
    for source in comparison.data_sources if sources is None else sources:
        prefix = "" if source == "all" else f"{source}: "
        sides = _sides(comparison, source, all_steps)
        averages = [row for row in comparison.averages if row.data_source == source]
        differences = [row for row in comparison.differences if row.data_source == source]
        for metric in METRICS:
            if metric in metrics and any(row.metric == metric for row in averages):
                yield _estimates(f"{prefix}{metric}", sides, [row for row in averages if row.metric == metric])
        if STATUS in metrics and any(row.statuses for rows in sides.values() for row in rows):
            yield _statuses(f"{prefix}how verification ended, in shares of the samples", sides)
        for metric in METRICS:
            rows = [row for row in differences if row.metric == metric]
            if metric in metrics and rows:
                matchings = [row for row in comparison.matchings if row.data_source == source]
                yield _differences(f"{prefix}differences in {metric} on the same prompts", matchings, rows)


def legend(comparison: Comparison) -> str:
    """Explain the marks and columns of the tables."""
    if comparison.select_by is None:
        return _LEGEND
    if comparison.select_by == VOTE:
        return f"{_LEGEND} gap@k: by how much the best of k beats the majority."
    return (
        f"{_LEGEND} selected@k: the one of k responses with the largest `{comparison.select_by}`. gap@k: by how much "
        "the best of k beats it, which a better judge could still win."
    )


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _parts(widths: list[int], room: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end (exclusive) of each range of columns that fit side by side."""
    start = 0
    while start < len(widths):
        end = start + 1
        while end < len(widths) and sum(widths[start : end + 1]) <= room:
            end += 1
        yield start, end
        start = end


def number(value: float) -> str:
    """Format a number.

    >>> number(0.0784), number(-0.5), number(-0.0004), number(12.3456), number(-1e300)
    ('.078', '-.500', '.000', '12.346', '-1e+300')
    """
    if abs(value) >= 1e6:
        return f"{value:.4g}"
    text = f"{round(value, 3) or 0:.3f}"  # no minus before zero
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.endswith("1.000") else text


def signed(value: float, interval: Interval | None) -> str:
    """Format a difference and its interval."""
    return ("+" if value > 0 else "") + number(value) + bounds(interval)


def bounds(interval: Interval | None) -> str:
    """Format an interval with a space before it; return "" for None."""
    return "" if interval is None else f" [{number(interval.low)}, {number(interval.high)}]"


def at_k(metric: str, k: int) -> str:
    """Return a metric's name at a given k, as in ``pass@8``."""
    return metric.replace("@k", f"@{k}").replace("^k", f"^{k}")


def span(values: Collection[int]) -> str:
    """Return the range of some numbers, as in ``4–16``, or the single number if all are equal."""
    return str(min(values)) if min(values) == max(values) else f"{min(values)}–{max(values)}"


def name_of_difference(candidate: Side, reference: Side) -> str:
    """Return the name of what is compared, on several lines."""
    if candidate.label == reference.label:
        return f"{candidate.label},\nstep {candidate.step} − {reference.step}"
    if candidate.step == reference.step:
        return f"{candidate.label} −\n{reference.label}" + (
            "" if candidate.step is None else f",\nstep {candidate.step}"
        )
    return f"{candidate} −\n{reference}"


def _markdown(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())


def _sides(comparison: Comparison, source: str, all_steps: bool) -> dict[Side, list[Coverage]]:
    """Return the runs of each label at each step to show."""
    covered = [row for row in comparison.coverage if row.data_source == source]
    sides: dict[Side, list[Coverage]] = {}
    for label in dict.fromkeys(row.label for row in covered):
        steps = comparison.steps(label, source)
        for step in steps if all_steps else dict.fromkeys([steps[0], steps[-1]]):
            sides[Side(label, step)] = [row for row in covered if (row.label, row.step) == (label, step)]
    return sides


def _estimates(title: str, sides: dict[Side, list[Coverage]], averages: list[Estimate]) -> Table:
    columns: dict[str, dict[Side, str]] = {}
    for row in sorted(averages, key=lambda row: row.k):
        columns.setdefault(at_k(row.metric, row.k), {})[Side(row.label, row.step)] = _average(row)
    return _by_side(title, sides, columns)


def _statuses(title: str, sides: dict[Side, list[Coverage]]) -> Table:
    columns: dict[str, dict[Side, str]] = {}
    for side, rows in sides.items():
        shares = [row.statuses for row in rows if row.statuses]
        for name in shares[0] if shares else ():
            columns.setdefault(name, {})[side] = number(sum(share[name] for share in shares) / len(shares))
    return _by_side(title, sides, columns)


def _by_side(title: str, sides: dict[Side, list[Coverage]], columns: dict[str, dict[Side, str]]) -> Table:
    contexts = [_context(side, rows) for side, rows in sides.items()]
    values = [[column.get(side, "") for column in columns.values()] for side in sides]
    heading = ["run", "step", "seeds", "prompts × n", "unsolved", *columns]
    rows = [context + cells for context, cells in zip(contexts, values, strict=True)]
    return Table(title, heading, rows, 5, [_short(*context) for context in contexts])


def _context(side: Side, rows: list[Coverage]) -> list[str]:
    never = [row.never_solved for row in rows if row.never_solved is not None]
    prompts, n = span([row.prompts for row in rows]), span([n for row in rows for n in (row.smallest_n, row.largest_n)])
    step = "" if side.step is None else str(side.step)
    return [side.label, step, str(len(rows)), f"{prompts} × {n}", number(sum(never) / len(never)) if never else ""]


def _short(label: str, step: str, seeds: str, size: str, unsolved: str) -> str:
    where = ", ".join(filter(None, [f"step {step}" if step else "", f"{seeds} seeds" if seeds != "1" else ""]))
    return "\n".join(filter(None, [label, where, size, f"{unsolved} unsolved" if unsolved else ""]))


def _average(row: Estimate) -> str:
    return "\n".join([number(row.value), *_plus_minus(row.std), *_own_line(row.interval)])


def _plus_minus(std: float | None) -> list[str]:
    return [] if std is None else [f"± {number(std)}"]


def _own_line(interval: Interval | None) -> list[str]:
    return [bounds(interval).strip()] if interval else []


def _differences(title: str, matchings: list[Matching], differences: list[Difference]) -> Table:
    cells = {(row.candidate, row.reference, row.k): row for row in differences}
    ks = sorted({k for *_, k in cells})
    rows = [
        [name_of_difference(row.candidate, row.reference), _matched(row), _only_one(row)]
        + [_difference(cells.get((row.candidate, row.reference, k))) for k in ks]
        for row in matchings
        if any((row.candidate, row.reference, k) in cells for k in ks)
    ]
    heading = ["difference", "prompts", "solved by one only", *(at_k(differences[0].metric, k) for k in ks)]
    about = [f"{name}\n{prompts}" + (f"\none only: {only}" if only else "") for name, prompts, only, *_ in rows]
    return Table(title, heading, rows, 3, about)


def _matched(row: Matching) -> str:
    return f"{row.matched} same" + (f"\n{row.unmatched} other" if row.unmatched else "")


def _only_one(row: Matching) -> str:
    if row.only_candidate is None or row.only_reference is None:
        return ""
    return f"{number(row.only_candidate)}, {number(row.only_reference)}"


def _difference(row: Difference | None) -> str:
    if row is None:
        return ""
    return "\n".join([signed(row.value, None), *_own_line(row.interval), *_plus_minus(row.std)])
