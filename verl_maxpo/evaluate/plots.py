"""Draw a comparison as a picture, for papers and for readers of the report without JavaScript."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from verl_maxpo.evaluate.dumps import Run
from verl_maxpo.evaluate.lines import CAPTION, MARKERS, Line, against_k, over_steps
from verl_maxpo.evaluate.results import Comparison
from verl_maxpo.evaluate.settings import schedule_of
from verl_maxpo.evaluate.tables import at_k


def draw(comparison: Comparison, file: Path, runs: Iterable[Run] = ()) -> None:
    """Draw the headline metric against k and against steps, with a row for each data source.

    The file's suffix sets the format. The picture marks where ``runs`` change the K that they train with.
    """
    sources = comparison.data_sources
    labels = list(dict.fromkeys(row.label for row in comparison.averages))
    several = any(len(comparison.steps(row.label, row.data_source)) > 1 for row in comparison.averages)
    columns = 1 + several * max(min(2, len(comparison.headline_ks(source))) for source in sources)
    schedules = {run.label: schedule_of(run) for run in runs}
    # Names of runs may contain "$", and letters of any script.
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
    """Return matplotlib's font, and installed fonts with the characters that it lacks."""
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
    except (OSError, RuntimeError):  # the font was removed, or FreeType cannot read it
        return set()


def _against_k(comparison: Comparison, source: str, axes: Axes) -> None:
    metric = comparison.headline_metric(source)
    for line in against_k(comparison, source, metric):
        errors = np.abs(np.array(line.bounds) - line.ys)
        axes.errorbar(line.xs, line.ys, yerr=errors, capsize=3, label=str(line.side), **_style(line))
        _draw_seeds(line, axes)
    axes.set_xscale("log")
    axes.set_xticks(comparison.ks, list(map(str, comparison.ks)))
    axes.set(xlabel="k", ylabel=metric, title="all prompts" if source == "all" else source)
    _finish(axes)


def _against_steps(
    comparison: Comparison, source: str, axes: Axes, k: int, schedules: dict[str, dict[int, str]]
) -> None:
    metric = comparison.headline_metric(source)
    for line in over_steps(comparison, source, metric, k):
        trained = schedules.get(line.side.label, {})
        name = f"{line.side}, K = {', '.join(trained.values())}" if trained else str(line.side)
        axes.plot(line.xs, line.ys, label=name, **_style(line))
        axes.fill_between(line.xs, *line.bounds, color=line.colour, alpha=0.15, linewidth=0)
        _draw_seeds(line, axes)
        for step, trained_k in list(trained.items())[1:]:
            axes.axvline(step, color=line.colour, linestyle=":")
            above = axes.get_xaxis_transform()
            axes.text(step, 1, f" K = {trained_k}", color=line.colour, va="bottom", transform=above)
    axes.set(xlabel="training step", ylabel=at_k(metric, k))
    _finish(axes)


def _draw_seeds(line: Line, axes: Axes) -> None:
    if line.dots:
        axes.plot(*zip(*line.dots, strict=True), ".", markersize=4, color=line.colour, alpha=0.7)


def _style(line: Line) -> dict[str, Any]:
    """Return how a line looks: solid with full markers, or dashed with hollow markers for the first step."""
    return {
        "color": line.colour,
        "linestyle": "--" if line.start else "-",
        "marker": MARKERS[line.number % len(MARKERS)],
        "markerfacecolor": "white" if line.start else line.colour,
    }


def _finish(axes: Axes) -> None:
    """Put the legend below the axes, where it covers nothing."""
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.16), frameon=False)
