"""What the commands share."""

from __future__ import annotations

import json
import sys
import textwrap
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verl_maxpo.evaluate.tables import Table


class CommandError(Exception):
    """Ends a command; the message is for the user.

    Attributes:
        status: The exit status: 2 for unusable arguments, 1 for something wrong in the data.
    """

    def __init__(self, message: object, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def add_json(parser: ArgumentParser) -> None:
    """Add the option ``--json``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE as JSON")


def write_json(content: Any, file: Path | None) -> None:
    """Write content (dataclasses too) as JSON, creating the file's folder; do nothing if no file is given."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=vars) + "\n", encoding="utf-8")


def show(tables: Iterable[Table], legend: str, notes: list[str]) -> None:
    """Print the tables and the legend, and warnings on stderr."""
    from rich.console import Console

    from verl_maxpo.evaluate.tables import WIDTH

    console = Console(markup=False, emoji=False, highlight=False, width=WIDTH)
    for table in tables:
        with console.capture() as text:  # leaves broken pipes to the command line
            console.print(*table.rich(), sep="")
        print(text.get(), end="")
    if legend:
        print(textwrap.fill(legend, WIDTH))
    sys.stdout.flush()
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def non_negative(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)
