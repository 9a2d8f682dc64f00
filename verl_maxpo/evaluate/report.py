"""Write a comparison into files."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from verl_maxpo.evaluate import summary
from verl_maxpo.evaluate.dumps import Run
from verl_maxpo.evaluate.problems import Changes, changes
from verl_maxpo.evaluate.results import METRICS, Comparison
from verl_maxpo.evaluate.styles import CAPTION
from verl_maxpo.evaluate.tables import LEGEND, number, tables


def write_report(comparison: Comparison, runs: list[Run], folder: Path) -> list[Path]:
    """Write ``report.json``, ``report.md``, ``report.png`` and ``report.html``.

    Args:
        comparison: What to write; all of it is in the JSON file, and all steps in the others.
        runs: What was compared; their files must still be there.
        folder: Where to; it is made if need be, and files of an earlier report are replaced.

    Returns:
        The files.

    Raises:
        OSError: A dump cannot be read any more, or a file not written.
    """
    from verl_maxpo.evaluate.plots import draw

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"report.{suffix}" for suffix in ("json", "md", "png", "html")]
    as_json, as_markdown, picture, as_html = files
    write_json(comparison, as_json)
    write_markdown(comparison, as_markdown)
    draw(comparison, picture, runs)
    as_html.write_text(_html(comparison, runs, picture), encoding="utf-8")
    return files


def write_json(rows: object, file: Path) -> None:
    """Write dataclasses as JSON.

    Args:
        rows: Dataclasses, or lists and dictionaries of them.
        file: Where to; its folder is made if need be.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")


def write_markdown(comparison: Comparison, file: Path) -> None:
    """Write the tables of all steps as Markdown.

    Args:
        comparison: What to write.
        file: Where to; its folder is made if need be.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = ["# Evaluation\n", *(table.markdown() for table in tables(comparison, all_steps=True)), f"{LEGEND}\n"]
    notes = "\n".join(f"- {note}" for note in comparison.notes)
    text = "\n".join([*parts, *([f"**Warnings**\n\n{notes}\n"] if notes else [])])
    file.write_text(text, encoding="utf-8")


def _html(comparison: Comparison, runs: list[Run], picture: Path) -> str:
    from plotly.offline import get_plotlyjs

    from verl_maxpo.evaluate.figures import fraction, name_of_changes

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "fraction": fraction, "name": name_of_changes}
    sources = list(dict.fromkeys(row.data_source for row in comparison.averages))
    by_source: dict[str, list[Changes]] = {source: [] for source in sources}
    for of in changes(comparison, runs):
        by_source[of.data_source].append(of)
    return environment.get_template("report.html.j2").render(
        result=summary.result(comparison),
        facts=summary.facts(comparison, runs),
        labels=list(dict.fromkeys(run.label for run in runs)),
        sections=[_section(comparison, source, of) for source, of in by_source.items()],
        notes=comparison.notes,
        legend=LEGEND,
        caption=CAPTION,
        picture=b64encode(picture.read_bytes()).decode(),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        script=Markup((Path(__file__).parent / "report.js").read_text(encoding="utf-8")),
    )


def _section(comparison: Comparison, source: str, of: list[Changes]) -> dict[str, object]:
    """Return what the template shows of a data source."""
    from plotly.utils import PlotlyJSONEncoder

    from verl_maxpo.evaluate.figures import figures

    interactive = list(figures(comparison, source, of))
    main = comparison.main_metric(source)
    others = [metric for metric in METRICS if metric != main]
    return {
        "source": source,
        "figures": interactive,
        "data": Markup(
            json.dumps([figure.plain() for figure in interactive], cls=PlotlyJSONEncoder).replace("<", "\\u003c")
        ),
        "changes": of,
        "tables": list(tables(comparison, all_steps=True, sources=[source], metrics=[main])),
        "more": list(tables(comparison, all_steps=True, sources=[source], metrics=others)),
    }
