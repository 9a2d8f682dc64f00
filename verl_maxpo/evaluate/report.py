"""Write a comparison into files."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from verl_maxpo.evaluate.plots import CAPTION, draw
from verl_maxpo.evaluate.results import Comparison
from verl_maxpo.evaluate.tables import LEGEND, tables


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``report.json``, ``report.md``, ``report.png`` and ``report.html``.

    Args:
        comparison: What to write; all of it is in the JSON file, and all steps in the others.
        folder: Where to; it is made if need be, and files of an earlier report are replaced.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"report.{suffix}" for suffix in ("json", "md", "png", "html")]
    as_json, as_markdown, picture, as_html = files
    write_json(comparison, as_json)
    write_markdown(comparison, as_markdown)
    draw(comparison, picture)
    as_html.write_text(_html(comparison, picture), encoding="utf-8")
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


def _html(comparison: Comparison, picture: Path) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        tables=list(tables(comparison, all_steps=True)),
        notes=comparison.notes,
        legend=LEGEND,
        caption=CAPTION,
        picture=b64encode(picture.read_bytes()).decode(),
    )
