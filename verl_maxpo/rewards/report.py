"""What a check of rewards found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from verl_maxpo.rewards.result import WITHOUT_VERDICT
from verl_maxpo.rewards.scoring import Scored

_SHOWN_REWARDS = 4


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row.

    Attributes:
        row: Its number, None for all rows of a data source.
        text: What is wrong.
        stops: Whether a run must not start with it.
    """

    row: int | None
    text: str
    stops: bool = False


@dataclass
class Tally:
    """The outcomes of one kind of response: rewards, or the status of those without a verdict.

    Attributes:
        outcomes: How often each came.
        right: How many responses count as right (``acc`` is 1).
        seconds: Of all calls.
        last: What the last response with a verdict got.
    """

    outcomes: Counter[float | str] = field(default_factory=Counter)
    right: int = 0
    seconds: float = 0.0
    last: Scored | None = None

    def add(self, scored: Scored) -> None:
        """Count one response."""
        status = scored.columns["status"]
        if status in WITHOUT_VERDICT:
            self.outcomes[status] += 1
        else:
            self.outcomes[scored.reward] += 1
            self.right += scored.columns["acc"] == 1
            self.last = scored
        self.seconds += scored.seconds

    @property
    def rewards(self) -> set[float]:
        """The rewards that were seen."""
        return {outcome for outcome in self.outcomes if not isinstance(outcome, str)}

    def __str__(self) -> str:
        shown = [f"{o if isinstance(o, str) else format(o, 'g')} ({n})" for o, n in self.outcomes.most_common()]
        return ", ".join(shown[:_SHOWN_REWARDS]) + (", ..." if len(shown) > _SHOWN_REWARDS else "")


@dataclass
class Report:
    """What a check found in one file.

    Attributes:
        rows: Rows of each data source.
        tallies: What was tried, by data source and kind of response.
        unchecked: Why rows were checked by half or not at all, and how often.
        warnings: What is odd, and how often.
        problems: What is wrong.
        scored: What became of each given response.
    """

    rows: Counter[str] = field(default_factory=Counter)
    tallies: defaultdict[str, defaultdict[str, Tally]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Tally))
    )
    unchecked: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every row could be checked and has no problem."""
        return not self.problems and not self.unchecked

    def lines(self, limit: int = 20) -> Iterator[str]:
        """Describe it, with the first problems."""
        for source, count in sorted(self.rows.items()):
            yield f"{count} rows of {source}"
            if tried := self.tallies.get(source):
                yield from _table(tried)
        for text, count in sorted((self.unchecked | self.warnings).items()):
            yield f"  warning: {text} ({count} times)"
        rows: dict[str, list[int | None]] = {}
        for problem in self.problems:
            rows.setdefault(problem.text, []).append(problem.row)
        for text, numbers in list(rows.items())[:limit]:
            more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
            yield f"  {'all rows' if numbers[0] is None else f'row {numbers[0]}{more}'}: {text}"
        if len(rows) > limit:
            yield f"  ... and {len(rows) - limit} more"
        yield f"{len(self.problems)} problem(s)"


def _table(tried: Mapping[str, Tally]) -> Iterator[str]:
    rows = [("tried", "times", "right", "s a call", "rewards")]
    for kind, tally in tried.items():
        times = tally.outcomes.total()
        rows.append((kind, str(times), str(tally.right), f"{tally.seconds / times:.4f}", str(tally)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
