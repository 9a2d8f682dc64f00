"""What was compared and what came out, in two lines."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from verl_maxpo.evaluate.dumps import Run
from verl_maxpo.evaluate.estimates import Interval
from verl_maxpo.evaluate.results import Average, Comparison, Difference
from verl_maxpo.evaluate.tables import at_k, number, span

_MOST = 4  # runs or data sources that a sentence names


def read_settings(folder: Path) -> dict[str, str]:
    """Read the file ``settings`` that the recipes' scripts write into the folder of a run: lines of NAME=value."""
    lines = (folder / "settings").read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def settings(run: Run) -> dict[str, str]:
    """Return the settings of a run of the recipes, found beside its dumps or a folder above; none of any other."""
    first = run.files[0] if run.files else Path("missing")
    folders = (folder for folder in (first.parent, first.parent.parent) if (folder / "settings").is_file())
    return next(map(read_settings, folders), {})


def schedule(run: Run) -> dict[int, str]:
    """Return the K that a run of the recipes trains with, by the step from which on."""
    k = settings(run).get("K", "")
    changes = re.findall(r"(\d+)\s*:\s*([^,}\s]+)", k) if k.startswith("{") else []
    return {int(step): value for step, value in changes} or ({0: k} if k else {})


def result(comparison: Comparison) -> str:
    """Say what came out, for the largest k of each data source."""
    sources = list(dict.fromkeys(row.data_source for row in comparison.averages))
    sentences = [_result(comparison, source) for source in sources[:_MOST]]
    more = len(sources) - _MOST
    return " ".join(sentences + ([f"{more} more data sources are below."] if more > 0 else []))


def _result(comparison: Comparison, source: str) -> str:
    metric = comparison.main_metric(source)
    k = max(row.k for row in comparison.averages if (row.data_source, row.metric) == (source, metric))
    rows = {
        (row.label, row.step): row
        for row in comparison.averages
        if (row.data_source, row.metric, row.k) == (source, metric, k)
    }
    differences = [row for row in comparison.differences if (row.data_source, row.metric, row.k) == (source, metric, k)]
    between = [row for row in differences if row.candidate.label != row.reference.label]
    name = at_k(metric, k) + ("" if source == "all" else f" on {source}")
    if between:
        reference = between[0].reference
        chosen = [row for row in between if row.reference.label == reference.label]
        chosen.sort(key=lambda row: -row.value)
        one_step = len({side.step for row in chosen for side in (row.candidate, row.reference)}) == 1
        values = [_value(rows[row.candidate.label, row.candidate.step], short=one_step) for row in chosen]
        others = [f"{value}, {_change(row)}" for value, row in zip(values, chosen, strict=True)][:_MOST]
        others += [f"{len(chosen) - _MOST} more are below"] if len(chosen) > _MOST else []
        against = _value(rows[reference.label, reference.step], short=one_step)
        at = _at(reference.step) if one_step else ""
        return f"{name}{at}, against {against}: {'; '.join(others)}."
    changed = "; ".join(_since(row, rows) for row in differences[:_MOST])
    plain = "; ".join(map(_value, list(rows.values())[:_MOST]))
    return f"{name}: {changed or plain}."


def _since(row: Difference, rows: dict[tuple[str, int | None], Average]) -> str:
    side = row.candidate
    return f"{_value(rows[side.label, side.step])}, {_change(row)} since step {row.reference.step}"


def _value(row: Average, *, short: bool = False) -> str:
    return f"{row.label} {number(row.value)}" + ("" if short else _at(row.step))


def _at(step: int | None) -> str:
    return "" if step is None else f" at step {step}"


def _change(row: Difference) -> str:
    interval = "" if row.interval is None else f" [{number(row.interval.low)}, {number(row.interval.high)}]"
    unclear = ", no clear difference" if _has_zero(row.interval) else ""
    return f"{'+' if row.value > 0 else ''}{number(row.value)}{interval}{unclear}"


def _has_zero(interval: Interval | None) -> bool:
    return interval is not None and interval.low <= 0 <= interval.high


def facts(comparison: Comparison, runs: list[Run]) -> str:
    """Say what was looked at: models and trained K where the recipes' settings are there, sizes and the date."""
    known = {run.label: settings(run) for run in runs}
    models = list(dict.fromkeys("/".join(Path(of["MODEL"]).parts[-2:]) for of in known.values() if of.get("MODEL")))
    trained = {label: of["K"] for label, of in known.items() if of.get("K")}
    same = len(trained) == len(known) and len(set(trained.values())) == 1
    ks = list(trained.values())[:1] if same else [f"{k} ({label})" for label, k in trained.items()]
    prompts = list(
        dict.fromkeys(f"{row.prompts} × {span([row.smallest_n, row.largest_n])}" for row in comparison.coverage)
    )
    seeds = {label: sum(run.label == label for run in runs) for label in known}
    said = date.today()
    parts = [
        f"model {', '.join(models)}" if models else "",
        f"trained with K = {', '.join(ks)}" if ks else "",
        f"prompts × samples {', '.join(prompts[:_MOST])}",
        f"seeds {span(seeds.values())}" if max(seeds.values()) > 1 else "",
        f"{said.day} {said:%B %Y}",
    ]
    return " · ".join(filter(None, parts))
