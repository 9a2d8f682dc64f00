"""Say in two lines what was compared and what came out."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from verl_maxpo.evaluate.dumps import Run
from verl_maxpo.evaluate.results import Comparison, Difference, Side
from verl_maxpo.evaluate.settings import settings_of
from verl_maxpo.evaluate.tables import at_k, number, signed, span

_MOST = 4  # runs or data sources that a sentence names


def result(comparison: Comparison) -> str:
    """Say what came out for each data source, at the K that runs trained with and at 1."""
    sources = comparison.data_sources
    sentences = [_result(comparison, source, k) for source in sources[:_MOST] for k in comparison.headline_ks(source)]
    more = len(sources) - _MOST
    return " ".join(sentences + ([f"{more} more data sources are below."] if more > 0 else []))


def _result(comparison: Comparison, source: str, k: int) -> str:
    metric = comparison.headline_metric(source)
    about = source, metric, k
    values = {
        Side(row.label, row.step): number(row.value)
        for row in comparison.averages
        if (row.data_source, row.metric, row.k) == about
    }
    differences = [row for row in comparison.differences if (row.data_source, row.metric, row.k) == about]
    between = [row for row in differences if row.candidate.label != row.reference.label]
    between = [row for row in between if row.reference == between[0].reference]
    name = at_k(metric, k) + ("" if source == "all" else f" on {source}")
    if not between:
        rows = [
            f"{values[row.candidate]} for {row.candidate} ({_change(row)} since step {row.reference.step})"
            for row in differences
        ]
        return f"{name}: {'; '.join((rows or [f'{value} for {side}' for side, value in values.items()])[:_MOST])}."
    reference = between[0].reference
    one_step = all(row.candidate.step == reference.step for row in between) and reference.step is not None
    between.sort(key=lambda row: -row.value)
    rows = [f"{values[row.candidate]} for {_side(row.candidate, one_step)} ({_change(row)})" for row in between[:_MOST]]
    rows = [f"{values[reference]} for {_side(reference, one_step)}", *rows]
    rows += [f"{len(between) - _MOST} more are below"] if len(between) > _MOST else []
    return f"{name}{f' at step {reference.step}' if one_step else ''}: {'; '.join(rows)}."


def _side(side: Side, one_step: bool) -> str:
    return side.label if one_step else str(side)


def _change(row: Difference) -> str:
    unclear = row.interval is not None and row.interval.low <= 0 <= row.interval.high
    return signed(row.value, row.interval) + (", no clear difference" if unclear else "")


def facts(comparison: Comparison, runs: list[Run]) -> str:
    """Say what was compared: models and trained K as far as they are known, sizes and the date."""
    settings = {run.label: settings_of(run) for run in runs}
    models = {"/".join(Path(found["MODEL"]).parts[-2:]): None for found in settings.values() if "MODEL" in found}
    trained = {label: found["K"] for label, found in settings.items() if "K" in found}
    same = len(trained) == len(settings) and len(set(trained.values())) == 1
    ks = list(trained.values())[:1] if same else [f"{k} ({label})" for label, k in trained.items()]
    prompts = {f"{row.prompts} × {span([row.smallest_n, row.largest_n])}": None for row in comparison.coverage}
    seeds = [sum(run.label == label for run in runs) for label in settings]
    today = date.today()
    parts = [
        f"model {', '.join(models)}" if models else "",
        f"trained with K = {', '.join(ks)}" if ks else "",
        f"prompts × samples {', '.join(list(prompts)[:_MOST])}",
        f"seeds {span(seeds)}" if max(seeds) > 1 else "",
        f"{today.day} {today:%B %Y}",
    ]
    return " · ".join(filter(None, parts))
