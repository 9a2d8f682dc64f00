"""The pictures of the studies."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from curves import Run, compare, hidden_digit_weights, ks_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optimum import frontier, optimum
from studies import STUDIES

COLOURS = {"grpo": "#D55E00", "mean": "#E69F00", "maxpo": "#0072B2", "max@4": "#0072B2", "all": "#009E73"}
MORE_COLOURS = ("#56B4E9", "#CC79A7", "#E69F00", "#F0E442")  # Okabe-Ito, too
LABELS = {
    "grpo": "GRPO",
    "mean": "mean reward (RLOO)",
    "rloo": "RLOO",
    "maxpo": "MaxPO, k = 4",
    "max@4": "max@4",
    "all": "all k (MaxRL)",
    "loo_minus_one": "PKPO, k = 4",
}


def label_of(method: str) -> str:
    """Return the name of a method for readers."""
    return LABELS.get(method, method.replace("_", " "))


def draw_all(folder: Path) -> None:
    """Draw what there are results for."""
    folder.mkdir(exist_ok=True)
    for study in STUDIES:
        if compare(study).runs:
            draw_curves(study, folder / f"{study}.png")
    if compare("hidden_digit").runs:
        draw_frontier("hidden_digit", folder / "hidden_digit_frontier.png")
    if compare("countdown").runs:
        draw_frontier("countdown", folder / "countdown_frontier.png")


def draw_curves(study: str, file: Path) -> None:
    """Draw pass@k over steps: each method at its best rate, mean over seeds, with the range of the seeds."""
    comparison = compare(study)
    ks = ks_of(comparison.runs)
    figure, axes = plt.subplots(1, len(ks), figsize=(3 * len(ks), 3.1), layout="constrained")
    for k, ax in zip(ks, axes, strict=True):
        for method, colour in colours_of(study).items():
            if method in comparison.methods:
                _draw_method(ax, comparison.methods[method], k, colour, label_of(method))
        if STUDIES[study].task == "hidden_digit":
            ax.axhline(optimum(_prompts(), {k: 1.0}, k), color="black", ls=":", label="best possible")
        ax.set(title=f"best of {k}" if study == "closest" else f"pass@{k}", xlabel="step")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("held-out prompts")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    save(figure, file)


def save(figure: Figure, file: Path) -> None:
    """Write a picture, the same bytes each time."""
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)


def colours_of(study: str) -> dict[str, str]:
    """Return the methods of a study's main comparison with a colour each."""
    more = iter(MORE_COLOURS)
    return {method.name: COLOURS.get(method.name) or next(more) for method in STUDIES[study].groups[0]}


def _draw_method(ax: Axes, runs: list[Run], k: int, colour: str, name: str) -> None:
    steps = sorted(set.intersection(*(set(run.steps) for run in runs)))
    values = np.array([[run.pass_at_k(k, step).mean() for step in steps] for run in runs])
    label = f"{name} ({len(runs)} seed{'s' if len(runs) > 1 else ''})"
    ax.plot(steps, values.mean(axis=0), color=colour, marker="o", ms=3, label=label)
    ax.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)


def draw_frontier(study: str, file: Path) -> None:
    """Draw pass@1 against pass@8 of every checkpoint of every rate, and what no policy can beat."""
    figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
    runs = compare(study).runs
    for method, colour in colours_of(study).items():
        mine = [run for run in runs if run.method == method]
        if mine:
            _draw_checkpoints(ax, mine, colour, label_of(method))
    ax.plot(runs[0].pass_at_k(1, 0).mean(), runs[0].pass_at_k(8, 0).mean(), "k*", ms=11, label="start")
    if study == "hidden_digit":
        first, eighth = zip(*frontier(_prompts(), 8), strict=True)
        ax.plot(first, eighth, "k:", label="best possible")
    ax.set(xlabel="pass@1", ylabel="pass@8")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    save(figure, file)


def _draw_checkpoints(ax: Axes, runs: list[Run], colour: str, label: str) -> None:
    for i, run in enumerate(runs):
        points = [[run.pass_at_k(k, step).mean() for step in run.steps] for k in (1, 8)]
        ax.plot(points[0], points[1], color=colour, lw=0.6, alpha=0.6)
        errors = [run.pass_at_k(8, step).std() / len(run.pass_at_k(8, step)) ** 0.5 for step in run.steps]
        name = label if i == 0 else None
        ax.errorbar(points[0], points[1], yerr=errors, fmt="o", ms=3, elinewidth=0.4, color=colour, label=name)


def _prompts() -> list[list[float]]:
    weights, first = hidden_digit_weights()
    return [part.tolist() for part in np.split(weights, first[1:])]
