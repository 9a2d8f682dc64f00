"""Make the lines of the picture and of the report's figures, and give each run its colour and marker."""

from __future__ import annotations

from dataclasses import dataclass

from verl_maxpo.evaluate.results import Comparison, Estimate, Side, step_order

#: Okabe and Ito's colours, which colour-blind readers can tell apart, except those that vanish on white or black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Markers for matplotlib and Plotly: one more than there are colours, so that the first 42 runs all look different.
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
PLOTLY_MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")

CAPTION = "bars and bands: 95% interval over prompts; small dots: single seeds"


@dataclass(frozen=True)
class Line:
    """Estimates for one label.

    Attributes:
        side: The label. Against k, also the step, if there are several.
        start: Whether this is the first of several steps.
        rows: The estimates, at least one.
        xs: The k or step of each estimate.
        dots: (x, y) of every single seed, if there are several.
        number: Number of the label among all labels.
    """

    side: Side
    start: bool
    rows: list[Estimate]
    xs: list[int]
    dots: list[tuple[int, float]]
    number: int

    @property
    def ys(self) -> list[float]:
        """The values."""
        return [row.value for row in self.rows]

    @property
    def bounds(self) -> tuple[list[float], list[float]]:
        """The lower and upper ends of the intervals, or the value itself where there is no interval."""
        lows, highs = zip(*(row.interval or (row.value, row.value) for row in self.rows), strict=True)
        return list(lows), list(highs)

    @property
    def colour(self) -> str:
        """The colour of the label."""
        return COLOURS[self.number % len(COLOURS)]


def against_k(comparison: Comparison, source: str, metric: str) -> list[Line]:
    """Return a line for the first and the last step of each label."""
    lines = []
    for number, (label, rows) in enumerate(_by_label(comparison, source, metric).items()):
        steps = comparison.steps(label, source)
        for step in dict.fromkeys([steps[0], steps[-1]]):
            chosen = [row for row in rows if row.step == step]
            several = len(steps) > 1
            dots = [(row.k, row.value) for row in comparison.of_seeds(chosen)]
            ks = [row.k for row in chosen]
            line = Line(Side(label, step if several else None), several and step == steps[0], chosen, ks, dots, number)
            lines += [line] if chosen else []
    return lines


def over_steps(comparison: Comparison, source: str, metric: str, k: int) -> list[Line]:
    """Return a line for each label over its known steps."""
    lines = []
    for number, (label, rows) in enumerate(_by_label(comparison, source, metric).items()):
        chosen = sorted((row for row in rows if row.k == k and row.step is not None), key=lambda r: step_order(r.step))
        dots = [(row.step or 0, row.value) for row in comparison.of_seeds(chosen)]
        lines += (
            [Line(Side(label, None), False, chosen, [row.step or 0 for row in chosen], dots, number)] if chosen else []
        )
    return lines


def _by_label(comparison: Comparison, source: str, metric: str) -> dict[str, list[Estimate]]:
    found: dict[str, list[Estimate]] = {row.label: [] for row in comparison.averages if row.data_source == source}
    for row in comparison.averages:
        if (row.data_source, row.metric) == (source, metric):
            found[row.label].append(row)
    return found
