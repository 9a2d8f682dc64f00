"""The lines that the picture and the report's figures draw, and how runs look."""

from __future__ import annotations

from dataclasses import dataclass

from verl_maxpo.evaluate.results import Comparison, Estimate, Side, step_order

#: Okabe and Ito's colours, which colour-blind readers tell apart, without those that vanish on white or black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Markers of matplotlib and of Plotly, one more than colours, so that no two of the first 42 runs look the same.
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
PLOTLY_MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")

CAPTION = "bars and bands: 95% interval over prompts; small dots: the seeds, each alone"


@dataclass(frozen=True)
class Line:
    """Estimates of one label.

    Attributes:
        side: The label, and where k varies the step, if there are several.
        start: Whether that is the first of them.
        rows: At least one.
        xs: The k or step of each.
        dots: The seeds, each alone, where there are several.
        number: Of the label among all.
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
        """The lower and upper ends of the intervals, the value itself where there is none."""
        lows, highs = zip(*(row.interval or (row.value, row.value) for row in self.rows), strict=True)
        return list(lows), list(highs)

    @property
    def colour(self) -> str:
        """The colour of the label."""
        return COLOURS[self.number % len(COLOURS)]


def against_k(comparison: Comparison, source: str, metric: str) -> list[Line]:
    """Return for each label its first and last step."""
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
    """Return for each label its known steps."""
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
