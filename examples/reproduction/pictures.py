"""The pictures: the studies, and the weight that each objective gives to a problem."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from curves import Run, compare, hidden_digit_weights, ks_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from optimum import frontier, optimum
from scipy.stats import binom
from studies import STUDIES

from verl_maxpo import max_at_k_advantages

COLOURS = {"grpo": "#D55E00", "mean": "#E69F00", "maxpo": "#0072B2", "max@4": "#0072B2", "all": "#009E73"}
MORE_COLOURS = ("#56B4E9", "#CC79A7", "#E69F00", "#F0E442")  # Okabe-Ito, too
LABELS = {
    "grpo": "GRPO",
    "mean": "mean reward (RLOO)",
    "rloo": "RLOO",
    "maxpo": "MaxPO, k = 4",
    "max@4": "max@4",
    "all": "all k (MaxRL)",
    "loo_minus_one": "PKPO",
}


def label_of(method: str) -> str:
    """Return the name of a method for readers."""
    found = re.fullmatch(r"(l2o|maxpo)_k(\d+)", method)
    return f"MaxPO, k = {found[2]}" if found else LABELS.get(method, method.replace("_", " "))


def draw_all(folder: Path) -> None:
    """Draw what there are results for."""
    folder.mkdir(exist_ok=True)
    draw_weights(folder / "weights.png")
    for study in STUDIES:
        if compare(study).runs and 8 in STUDIES[study].tuned_for:
            draw_curves(study, folder / f"{study}.png")
    if compare("hidden_digit").runs:
        draw_frontier("hidden_digit", folder / "hidden_digit_frontier.png")
    if compare("countdown").runs:
        draw_frontier("countdown", folder / "countdown_frontier.png")


def draw_curves(study: str, file: Path) -> None:
    """Draw pass@k over steps: each method at its best rate, mean over seeds, with the range of the seeds."""
    comparison = compare(study)
    ks = ks_of(comparison.runs)
    figure, axes = plt.subplots(2, -(-len(ks) // 2), figsize=(6.6, 5.4), layout="constrained", sharex=True)
    for k, ax in zip(ks, axes.flat, strict=False):
        for method, colour in colours_of(study).items():
            if method in comparison.methods:
                _draw_method(ax, comparison.methods[method], k, colour, label_of(method))
        title = f"best of {k}" if study == "closest" else f"pass@{k}"
        if STUDIES[study].task == "hidden_digit":
            title += f" (best possible {optimum(_prompts(), {k: 1.0}, k):.2f})"
        ax.set_title(title)
        ax.grid(alpha=0.3)
    for ax in axes.flat[len(ks) :]:
        ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel("step")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(figure, file)


def draw_weights(file: Path, n: int = 16) -> None:
    """Draw the weight of a problem over its success rate, each objective scaled to a mean of 1 over all rates.

    Optimizers such as Adam hide a constant factor, so the shape is what counts. Those of max@k have a mean of 1 as
    they are.
    """
    rates = np.linspace(0.001, 0.999, 999)
    figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    rewards = (torch.arange(n) < torch.arange(n + 1)[:, None]).double()  # a group for every number of successes
    shown = {f"k = {k}": max_at_k_advantages(rewards, k) for k in (1, 4, 8)}
    shown["k = all (MaxRL)"] = max_at_k_advantages(rewards, "all")
    colours = ("#000000", "#56B4E9", "#0072B2", "#009E73", "#D55E00")
    shown["GRPO"] = (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + 1e-6)
    for (name, advantages), colour in zip(shown.items(), colours, strict=True):
        weights = weights_of(advantages.numpy(), rates)
        ax.plot(rates, weights / weights.mean(), color=colour, label=name, ls="--" if name == "GRPO" else "-")
    ax.set(xlabel="success rate of the problem", ylabel="weight of the problem", ylim=(0, 8), xlim=(0, 1))
    ax.set_title(f"What an update cares about, {n} responses to a prompt", fontsize=10)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    save(figure, file)


def weights_of(advantages: NDArray[np.float64], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight w(p) of a problem with success rate p: the expected update is w(p) times the gradient of p.

    As E[∇ log π] is ∇p / p for a success and -∇p / (1 - p) for a failure,

        w(p) = E_c[Σ_{i right} A_i / p - Σ_{i wrong} A_i / (1 - p)] / n,    c successes of n: Binomial(n, p)

    Args:
        advantages: Row c is that of a group whose first c responses are right, shape ``[n + 1, n]``.
        rates: p, shape ``[rates]``.
    """
    n = advantages.shape[1]
    first = np.arange(n) < np.arange(n + 1)[:, None]
    right, wrong = (np.where(of, advantages, 0).sum(axis=1) for of in (first, ~first))
    chances = binom.pmf(np.arange(n + 1), n, rates[:, None])
    weights: NDArray[np.float64] = (chances @ right / rates - chances @ wrong / (1 - rates)) / n
    return weights


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
    values = np.array([[run.value(k, step).mean() for step in steps] for run in runs])
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
    ax.plot(runs[0].value(1, 0).mean(), runs[0].value(8, 0).mean(), "k*", ms=11, label="start")
    if study == "hidden_digit":
        first, eighth = zip(*frontier(_prompts(), 8), strict=True)
        ax.plot(first, eighth, "k:", label="best possible")
    ax.set(xlabel="pass@1", ylabel="pass@8")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    save(figure, file)


def _draw_checkpoints(ax: Axes, runs: list[Run], colour: str, label: str) -> None:
    for i, run in enumerate(runs):
        points = [[run.value(k, step).mean() for step in run.steps] for k in (1, 8)]
        ax.plot(points[0], points[1], color=colour, lw=0.6, alpha=0.6)
        errors = [run.value(8, step).std() / len(run.value(8, step)) ** 0.5 for step in run.steps]
        name = label if i == 0 else None
        ax.errorbar(points[0], points[1], yerr=errors, fmt="o", ms=3, elinewidth=0.4, color=colour, label=name)


def _prompts() -> list[list[float]]:
    weights, first = hidden_digit_weights()
    return [part.tolist() for part in np.split(weights, first[1:])]
