"""Make the interactive figures of the HTML report, which Plotly draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from verl_maxpo.evaluate.lines import COLOURS, PLOTLY_MARKERS, Line, against_k, over_steps
from verl_maxpo.evaluate.problems import Changes, Outcome
from verl_maxpo.evaluate.results import METRICS, Comparison, Estimate, Side
from verl_maxpo.evaluate.tables import at_k, bounds, name_of_difference, number

_HELPED, _LOST, _SAME = COLOURS[0], COLOURS[1], "#888888"
_BINS = 16  # for outcomes with many samples, or outcomes that are scores


@dataclass(frozen=True)
class Interactive:
    """A figure with several views for the reader to choose from.

    Attributes:
        title: What the figure shows.
        choice: What the reader chooses, such as ``metric``.
        views: For each view, by name, what it changes in the layout. The ``meta`` of a trace names its view.
        chosen: The view that is shown first.
        figure: All traces, and the layout that all views share.
    """

    title: str
    choice: str
    views: dict[str, dict[str, Any]]
    chosen: str
    figure: go.Figure

    @property
    def legend(self) -> int:
        """Number of entries in the legend."""
        return len({trace.legendgroup for trace in self.figure.data})

    def plain(self) -> dict[str, Any]:
        """Return the figure as plain values and NumPy arrays."""
        figure: dict[str, Any] = self.figure.to_plotly_json()
        return figure | {"views": self.views, "chosen": self.chosen}


def figures(comparison: Comparison, source: str, changes: list[Changes]) -> Iterator[Interactive]:
    """Yield every metric against k, the headline metric over steps (if there are several), and how problems changed."""
    labels = {row.label for row in comparison.averages if row.data_source == source}
    yield _against_k(comparison, source)
    if any(len(comparison.steps(label, source)) > 1 for label in labels):
        yield _over_steps(comparison, source)
    if changes:
        yield _before_and_after(changes)


def _against_k(comparison: Comparison, source: str) -> Interactive:
    of_metric = {metric: against_k(comparison, source, metric) for metric in METRICS}
    there = {metric: lines for metric, lines in of_metric.items() if lines}
    traces = []
    for metric, lines in there.items():
        for line in lines:
            trace = _trace(line, metric)
            lows, highs = (abs(np.array(ends) - line.ys).tolist() for ends in line.bounds)
            trace["error_y"] = {"symmetric": False, "array": highs, "arrayminus": lows, "thickness": 1.2}
            traces += [trace, *_seeds(line, trace)]
    axis = {"type": "log", "tickvals": comparison.ks, "ticktext": list(map(str, comparison.ks)), "title": {"text": "k"}}
    views = {metric: {"yaxis.title.text": metric} for metric in there}
    return Interactive("Against k", "metric", views, comparison.headline_metric(source), _figure(traces, xaxis=axis))


def _over_steps(comparison: Comparison, source: str) -> Interactive:
    metric = comparison.headline_metric(source)
    ks = sorted({row.k for row in comparison.averages if (row.data_source, row.metric) == (source, metric)})
    traces = []
    for k in ks:
        for line in over_steps(comparison, source, metric, k):
            trace = _trace(line, at_k(metric, k))
            traces += [*_band(line, trace), trace, *_seeds(line, trace)]
    views = {at_k(metric, k): {"yaxis.title.text": at_k(metric, k)} for k in ks}
    figure = _figure(traces, xaxis={"title": {"text": "training step"}})
    return Interactive("During training", "k", views, at_k(metric, comparison.headline_ks(source)[0]), figure)


def _name(side: Side) -> str:
    """Return a side's name, escaped: Plotly would read tags in it as formatting and dollar signs as mathematics."""
    return escape(str(side), quote=False).replace("$", "&#36;")


def _trace(line: Line, view: str) -> dict[str, Any]:
    symbol = PLOTLY_MARKERS[line.number % len(PLOTLY_MARKERS)]
    name = _name(line.side)
    return {
        "x": line.xs,
        "y": line.ys,
        "text": [_uncertainty(row) for row in line.rows],
        "hovertemplate": "%{x}: %{y:.3f}%{text}",
        "mode": "lines+markers",
        "line": {"color": line.colour, "dash": "dash" if line.start else "solid"},
        "marker": {"size": 9, "symbol": symbol + ("-open" if line.start else "")},
        "name": name,
        "legendgroup": name,
        "meta": view,
        "type": "scatter",
    }


def _uncertainty(row: Estimate) -> str:
    interval = f"<br>{bounds(row.interval)} over prompts" if row.interval else ""
    return interval + (f"<br>± {number(row.std)} over {row.seeds} seeds" if row.std is not None else "")


def _band(line: Line, trace: dict[str, Any]) -> list[dict[str, Any]]:
    lows, highs = line.bounds
    band = {
        "x": [*line.xs, *reversed(line.xs)],
        "y": [*lows, *reversed(highs)],
        "fill": "toself",
        "mode": "lines",
        "line": {"width": 0, "color": line.colour},
        "opacity": 0.3,
    }
    return [_beside(trace, band)] if len(line.xs) > 1 else []


def _seeds(line: Line, trace: dict[str, Any]) -> list[dict[str, Any]]:
    marker = {"size": 4, "color": line.colour, "opacity": 0.8}
    dots = {"x": [x for x, _ in line.dots], "y": [y for _, y in line.dots], "mode": "markers", "marker": marker}
    return [_beside(trace, dots)] if line.dots else []


def _beside(line: dict[str, Any], trace: dict[str, Any]) -> dict[str, Any]:
    same = {name: line[name] for name in ("name", "legendgroup", "meta", "type")}
    return same | trace | {"showlegend": False, "hoverinfo": "skip"}


def _before_and_after(changes: list[Changes]) -> Interactive:
    traces: list[dict[str, Any]] = []
    views: dict[str, dict[str, Any]] = {}
    for pair in changes:
        name = name_of_changes(pair)
        places = Counter(_places(pair))
        traces += list(_bubbles(places, name))
        xs, ys = zip(*places, strict=True)
        views[name] = {
            "xaxis.title.text": _axis(pair, pair.matching.reference),
            "xaxis.range": _range(xs),
            "yaxis.title.text": _axis(pair, pair.matching.candidate),
            "yaxis.range": _range(ys),
        }
    ends = [value for trace in traces for value in (*trace["x"], *trace["y"])]
    low, high = min(ends), max(ends)
    same = {"type": "line", "x0": low, "x1": high, "y0": low, "y1": high, "line": {"dash": "dot", "width": 1}}
    same["line"]["color"] = _SAME
    figure = _figure(traces, xaxis={"title": {}}, shapes=[same], legend={"itemsizing": "constant"})
    return Interactive("Problem by problem: helped and lost", "comparison", views, name, figure)


def _range(values: Sequence[float]) -> list[float]:
    """Return where an axis starts and ends: just outside the values, so that no bubble is cut off."""
    margin = 0.06 * (max(values) - min(values) or 1)
    return [min(values) - margin, max(values) + margin]


def name_of_changes(changes: Changes) -> str:
    """Return the name of what is compared, on one line."""
    return " ".join(name_of_difference(changes.matching.candidate, changes.matching.reference).split())


def _axis(changes: Changes, side: Side) -> str:
    return f"{'share right' if changes.binary else 'mean score'} of<br>{_name(side)}"


def _bubbles(places: Counter[tuple[float, float]], name: str) -> Iterator[dict[str, Any]]:
    """Yield the problems that gained, lost and stayed the same. Problems with equal outcomes share one bubble."""
    largest = max(places.values())
    for what, colour, symbol, sign in (
        ("helped", _HELPED, "▲", 1),
        ("lost", _LOST, "▼", -1),
        ("the same", _SAME, "=", 0),
    ):
        chosen = {(x, y): count for (x, y), count in places.items() if (y > x) - (y < x) == sign}
        yield {
            "x": [x for x, _ in chosen],
            "y": [y for _, y in chosen],
            "text": [
                f"{count} problem{'s' * (count > 1)}: {number(x)} → {number(y)}" for (x, y), count in chosen.items()
            ],
            "hovertemplate": "%{text}",
            "mode": "markers",
            "marker": {
                "size": list(chosen.values()),
                "sizemode": "area",
                "sizeref": 2 * largest / 36**2,
                "sizemin": 4,
                "color": colour,
                "opacity": 0.75,
            },
            "name": f"{symbol} {what}: {sum(chosen.values())}",
            "legendgroup": what,
            "meta": name,
            "type": "scatter",
        }


def _places(changes: Changes) -> list[tuple[float, float]]:
    """Return where each problem goes in the figure, rounded if there would be too many different places."""
    means = [(before.mean, after.mean) for before, after in changes.outcomes]
    if changes.binary and all(outcome.n <= 2 * _BINS for pair in changes.outcomes for outcome in pair):
        return means
    ends = [value for pair in means for value in pair]
    width = (1 if changes.binary else max(ends, default=1) - min(ends, default=0) or 1) / _BINS
    return [(round(x / width) * width, round(y / width) * width) for x, y in means]


def _figure(traces: list[dict[str, Any]], **layout: Any) -> go.Figure:
    """Make a figure. The page sets the colours of text and axes, as they change between light and dark."""
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    common = {
        "template": go.layout.Template(),
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "xaxis": {"automargin": True},
        "yaxis": {"automargin": True, "title": {"standoff": 15}},
        "legend": legend,
        "hovermode": "closest",
    }
    common |= {
        name: common.get(name, {}) | value if isinstance(value, dict) else value for name, value in layout.items()
    }
    return go.Figure(data=[trace for trace in traces if trace["x"]], layout=common)


def fraction(outcome: Outcome, binary: bool) -> str:
    """Format an outcome: ``3/16``, or the mean score."""
    return f"{outcome.total:.0f}/{outcome.n}" if binary else number(outcome.mean)
