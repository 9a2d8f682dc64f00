"""A comparison as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from verl_maxpo.evaluate.results import Average, Comparison

CAPTION = "bars and bands: standard deviation over seeds, for a single run the 95% interval over prompts"


# Okabe and Ito's, which colour-blind readers tell apart, darker ones first; markers do the same without colour.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
_MARKERS = "osD^vPX"


def draw(comparison: Comparison, file: Path) -> None:
    """Draw pass@k, or max@k where correctness is not known, against k and against steps, a line for each data source.

    Args:
        comparison: What to show.
        file: The picture, in the format that its name says.
    """
    sources = list(dict.fromkeys(row.data_source for row in comparison.averages))
    steps = any(len(comparison.steps(row.label, row.data_source)) > 1 for row in comparison.averages)
    size = (5.2 * (1 + steps), 3.8 * len(sources))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(sources), 1 + steps, squeeze=False)
    with mpl.rc_context({"text.parse_math": False}):  # a run may be called "$x"
        for source, row in zip(sources, axes, strict=True):
            _against_k(comparison, source, row[0])
            if steps:
                _against_steps(comparison, source, row[1])
        figure.supxlabel(CAPTION, fontsize="small", color="0.4")
        figure.savefig(file, dpi=150)


def _lines(comparison: Comparison, source: str) -> dict[str, list[Average]]:
    """Return the rows of the main metric by label."""
    metric = comparison.main_metric(source)
    lines: dict[str, list[Average]] = {}
    for row in comparison.averages:
        if (row.data_source, row.metric) == (source, metric):
            lines.setdefault(row.label, []).append(row)
    return lines


def _bounds(rows: list[Average]) -> NDArray[np.float64]:
    """Return the lower and upper end of each row's uncertainty, ``[2, rows]``."""
    ends: list[tuple[float, float]] = []
    for row in rows:
        spread = row.std or 0.0
        of_seeds = (row.value - spread, row.value + spread)
        ends.append(row.interval if row.interval and row.std is None else of_seeds)
    bounds: NDArray[np.float64] = np.array(ends).T
    return bounds


def _against_k(comparison: Comparison, source: str, axes: Axes) -> None:
    for number, (label, rows) in enumerate(_lines(comparison, source).items()):
        steps = comparison.steps(label, source)
        for step in dict.fromkeys([steps[0], steps[-1]]):
            chosen = [row for row in rows if row.step == step]
            values = np.array([row.value for row in chosen])
            start = len(steps) > 1 and step == steps[0]
            axes.errorbar(
                [row.k for row in chosen],
                values,
                yerr=np.abs(_bounds(chosen) - values),
                capsize=3,
                **_style(number, "--" if start else "-"),
                label=label if len(steps) < 2 else f"{label}, step {step}",
            )
    axes.set_xscale("log")
    axes.set_xticks(comparison.ks, list(map(str, comparison.ks)))
    axes.set(xlabel="k", ylabel=comparison.main_metric(source), title="all prompts" if source == "all" else source)
    _finish(axes)


def _against_steps(comparison: Comparison, source: str, axes: Axes) -> None:
    metric = comparison.main_metric(source)
    for number, (label, rows) in enumerate(_lines(comparison, source).items()):
        known = sorted((row for row in rows if row.step is not None), key=lambda row: row.step or 0)
        ks = sorted({row.k for row in known})
        for k in dict.fromkeys([*ks[:1], *ks[-1:]]):
            chosen = [row for row in known if row.k == k]
            style = _style(number, "-" if k == ks[-1] else ":")
            name = f"{label} {metric.replace('k', str(k))}"
            steps = [row.step or 0 for row in chosen]
            axes.plot(steps, [row.value for row in chosen], label=name, **style)
            axes.fill_between(steps, *_bounds(chosen), color=style["color"], alpha=0.15, linewidth=0)
    axes.set(xlabel="training step", title="during training")
    _finish(axes)


def _style(number: int, line: str) -> dict[str, Any]:
    """Return how the lines of a label look: full markers on solid lines, hollow ones on others."""
    colour = _COLOURS[number % len(_COLOURS)]
    return {
        "color": colour,
        "linestyle": line,
        "marker": _MARKERS[number % len(_MARKERS)],
        "markerfacecolor": colour if line == "-" else "white",
    }


def _finish(axes: Axes) -> None:
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
