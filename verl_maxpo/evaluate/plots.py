"""A comparison as a picture for papers, and for readers of the report without JavaScript."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from verl_maxpo.evaluate.dumps import Run
from verl_maxpo.evaluate.results import Average, Comparison
from verl_maxpo.evaluate.settings import schedule_of
from verl_maxpo.evaluate.styles import CAPTION, COLOURS, MARKERS
from verl_maxpo.evaluate.tables import at_k


def draw(comparison: Comparison, file: Path, runs: Iterable[Run] = ()) -> None:
    """Draw the headline's metric against k and against steps, a row for each data source.

    Args:
        comparison: What to show.
        file: The picture, in the format that its name says.
        runs: Whose changes of the trained K are marked.
    """
    sources = comparison.data_sources
    labels = list(dict.fromkeys(row.label for row in comparison.averages))
    several = any(len(comparison.steps(row.label, row.data_source)) > 1 for row in comparison.averages)
    columns = 1 + several * max(min(2, len(comparison.headline_ks(source))) for source in sources)
    schedules = {run.label: schedule_of(run) for run in runs}
    # Names of runs may be "$x", and in any script.
    with mpl.rc_context({"text.parse_math": False, "font.family": _fonts("".join(sources + labels))}):
        legend_height = 0.2 * len(labels) * (1 + several)
        figure = Figure(figsize=(1 + 4.2 * columns, (3.4 + legend_height) * len(sources)), layout="constrained")
        axes = figure.subplots(len(sources), columns, squeeze=False)
        for source, row in zip(sources, axes, strict=True):
            _against_k(comparison, source, row[0])
            ks = comparison.headline_ks(source)
            for k, panel in zip(sorted({ks[0], ks[-1]}), row[1:], strict=False):
                _against_steps(comparison, source, panel, k, schedules)
        figure.supxlabel(CAPTION, fontsize="small", color="0.4", wrap=True)
        figure.savefig(file, dpi=150)


def _fonts(text: str) -> list[str]:
    """Return matplotlib's font, and installed ones that have the characters that it lacks."""
    families = ["DejaVu Sans"]
    missing = {ord(character) for character in text if not character.isspace()}
    missing -= _characters(font_manager.findfont(families[0]))
    for font in font_manager.fontManager.ttflist if missing else []:
        found = missing & _characters(font.fname)
        if found:
            families.append(font.name)
            missing -= found
    return families


def _characters(file: str) -> set[int]:
    try:
        return set(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that was removed, or that FreeType cannot read
        return set()


def _lines(comparison: Comparison, source: str) -> dict[str, list[Average]]:
    """Return the rows of the main metric by label."""
    metric = comparison.headline_metric(source)
    lines: dict[str, list[Average]] = {}
    for row in comparison.averages:
        if (row.data_source, row.metric) == (source, metric):
            lines.setdefault(row.label, []).append(row)
    return lines


def _bounds(rows: list[Average]) -> NDArray[np.float64]:
    """Return the lower and upper end of each row's interval over prompts, ``[2, rows]``."""
    bounds: NDArray[np.float64] = np.array([row.interval or (row.value, row.value) for row in rows]).T
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
            _seeds(comparison, chosen, axes, "k", number)
    axes.set_xscale("log")
    axes.set_xticks(comparison.ks, list(map(str, comparison.ks)))
    axes.set(xlabel="k", ylabel=comparison.headline_metric(source), title="all prompts" if source == "all" else source)
    _finish(axes)


def _against_steps(
    comparison: Comparison, source: str, axes: Axes, k: int, schedules: dict[str, dict[int, str]]
) -> None:
    metric = comparison.headline_metric(source)
    for number, (label, rows) in enumerate(_lines(comparison, source).items()):
        chosen = sorted((row for row in rows if row.k == k and row.step is not None), key=lambda row: row.step or 0)
        steps = [row.step or 0 for row in chosen]
        style = _style(number, "-")
        trained = schedules.get(label, {})
        name = f"{label}, K = {', '.join(trained.values())}" if trained else label
        axes.plot(steps, [row.value for row in chosen], label=name, **style)
        if chosen:
            axes.fill_between(steps, *_bounds(chosen), color=style["color"], alpha=0.15, linewidth=0)
        _seeds(comparison, chosen, axes, "step", number)
        for step, trained_k in list(trained.items())[1:]:
            axes.axvline(step, color=style["color"], linestyle=":")
            axes.text(
                step, 1, f" K = {trained_k}", color=style["color"], va="bottom", transform=axes.get_xaxis_transform()
            )
    axes.set(xlabel="training step", ylabel=at_k(metric, k))
    _finish(axes)


def _seeds(comparison: Comparison, rows: list[Average], axes: Axes, x: str, number: int) -> None:
    """Draw each seed alone, where there are several."""
    dots = [(getattr(row, x), row.value) for row in comparison.of_seeds(rows)]
    if dots:
        axes.plot(*zip(*dots, strict=True), ".", markersize=4, color=COLOURS[number % len(COLOURS)], alpha=0.7)


def _style(number: int, line: str) -> dict[str, Any]:
    """Return how the lines of a label look: full markers on solid lines, hollow ones on others."""
    colour = COLOURS[number % len(COLOURS)]
    return {
        "color": colour,
        "linestyle": line,
        "marker": MARKERS[number % len(MARKERS)],
        "markerfacecolor": colour if line == "-" else "white",
    }


def _finish(axes: Axes) -> None:
    """Put the legend below the axes, where it covers nothing."""
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.16), frameon=False)
