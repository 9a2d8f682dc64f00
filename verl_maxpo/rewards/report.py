"""What a check of rewards found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from verl_maxpo.rewards.result import WITHOUT_VERDICT
from verl_maxpo.rewards.scoring import Scored

_SHOWN_REWARDS = 4


class Problem(NamedTuple):
    """What is wrong with a row, or with all rows of a data source (None).

    Attributes:
        row: Its number.
        text: What is wrong.
        stops: Whether a run must not start with it.
    """

    row: int | None
    text: str
    stops: bool = False


@dataclass
class Tally:
    """The outcomes of one kind of response: rewards, or the status of those without a verdict; seconds of all calls."""

    outcomes: Counter[float | str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, scored: Scored) -> None:
        """Count one response."""
        status = scored.columns["status"]
        self.outcomes[status if status in WITHOUT_VERDICT else scored.reward] += 1
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
        rows: Rows by data source.
        tallies: What was tried, by data source and kind of response.
        unchecked: Rows by data source of which only half can be checked, or nothing, with the reason.
        warnings: What is odd, by data source, with how often.
        problems: What is wrong.
        scored: Given responses: what became of each.
    """

    rows: Counter[str] = field(default_factory=Counter)
    tallies: defaultdict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    unchecked: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: Counter[tuple[str, str]] = field(default_factory=Counter)
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
            tried = [(kind, tally) for (of, kind), tally in self.tallies.items() if of == source]
            yield from _table(["tried", "times", "s a call", "rewards"], [_cells(*each) for each in tried])
        for (source, reason), count in sorted(self.unchecked.items()):
            yield f"  warning: {count} of {source} not checked: {reason}"
        for (source, warning), count in sorted(self.warnings.items()):
            yield f"  warning: {source}: {warning} ({count} times)"
        rows: dict[str, list[int | None]] = {}
        for problem in self.problems:
            rows.setdefault(problem.text, []).append(problem.row)
        for text, numbers in list(rows.items())[:limit]:
            more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
            yield f"  {'all rows' if numbers[0] is None else f'row {numbers[0]}{more}'}: {text}"
        if len(rows) > limit:
            yield f"  ... and {len(rows) - limit} more"
        yield f"{len(self.problems)} problem(s)"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON knows it, with all problems."""
        return {
            "rows": dict(self.rows),
            "tried": [
                {
                    "data_source": source,
                    "response": kind,
                    "outcomes": {str(outcome): count for outcome, count in tally.outcomes.items()},
                    "seconds": tally.seconds,
                }
                for (source, kind), tally in self.tallies.items()
            ],
            "unchecked": [{"data_source": s, "reason": reason, "rows": n} for (s, reason), n in self.unchecked.items()],
            "warnings": [{"data_source": s, "warning": text, "times": n} for (s, text), n in self.warnings.items()],
            "problems": [{"row": problem.row, "problem": problem.text} for problem in self.problems],
            "scored": self.scored,
        }


def _cells(kind: str, tally: Tally) -> list[str]:
    times = tally.outcomes.total()
    return [kind, str(times), f"{tally.seconds / times:.4f}", str(tally)]


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows] if rows else []:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
