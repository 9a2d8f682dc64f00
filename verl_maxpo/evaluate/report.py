"""Write a comparison to files."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from verl_maxpo.evaluate import summary
from verl_maxpo.evaluate.dumps import Run
from verl_maxpo.evaluate.lines import CAPTION
from verl_maxpo.evaluate.problems import Changes, changes
from verl_maxpo.evaluate.results import METRICS, STATUS, Comparison
from verl_maxpo.evaluate.tables import legend, number, tables


def write_report(comparison: Comparison, runs: list[Run], folder: Path) -> list[Path]:
    """Write ``report.md``, ``report.png`` and ``report.html``, with all steps, and return the files.

    The folder is created if it does not exist, and the files of an earlier report are replaced. The dumps must still
    be there.

    Raises:
        OSError: A dump can no longer be read, or a file cannot be written.
    """
    from verl_maxpo.evaluate.plots import draw

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"report.{suffix}" for suffix in ("md", "png", "html")]
    as_markdown, picture, as_html = files
    write_markdown(comparison, as_markdown)
    draw(comparison, picture, runs)
    as_html.write_text(_html(comparison, runs, picture), encoding="utf-8")
    return files


def write_markdown(comparison: Comparison, file: Path) -> None:
    """Write the tables of all steps as Markdown; create the file's folder if it does not exist."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        "# Evaluation\n",
        *(table.markdown() for table in tables(comparison, all_steps=True)),
        f"{legend(comparison)}\n",
    ]
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
    by_source: dict[str, list[Changes]] = {source: [] for source in comparison.data_sources}
    for pair in changes(comparison, runs):
        by_source[pair.matching.data_source].append(pair)
    return environment.get_template("report.html.j2").render(
        result=summary.result(comparison),
        facts=summary.facts(comparison, runs),
        labels=list(dict.fromkeys(run.label for run in runs)),
        sections=[_section(comparison, source, pairs) for source, pairs in by_source.items()],
        notes=comparison.notes,
        legend=legend(comparison),
        caption=CAPTION,
        picture=b64encode(picture.read_bytes()).decode(),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        script=Markup((Path(__file__).parent / "report.js").read_text(encoding="utf-8")),
    )


def _section(comparison: Comparison, source: str, changed: list[Changes]) -> dict[str, object]:
    """Return what the template shows for a data source."""
    from plotly.utils import PlotlyJSONEncoder

    from verl_maxpo.evaluate.figures import figures

    interactive = list(figures(comparison, source, changed))
    main = comparison.shown_metrics()
    others = {*METRICS, STATUS} - main
    return {
        "source": source,
        "figures": interactive,
        "data": Markup(
            json.dumps([figure.plain() for figure in interactive], cls=PlotlyJSONEncoder).replace("<", "\\u003c")
        ),
        "changes": changed,
        "tables": list(tables(comparison, all_steps=True, sources=[source], metrics=main)),
        "more": list(tables(comparison, all_steps=True, sources=[source], metrics=others)),
    }
