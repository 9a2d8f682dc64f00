"""What ``evaluate`` and ``choose-k`` share: they read dumps and show tables."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from verl_maxpo.cli.common import CommandError
from verl_maxpo.evaluate.dumps import Run, read_runs
from verl_maxpo.evaluate.tables import WIDTH, Table


def read(paths: list[Path], *, by_uid: bool = False) -> list[Run]:
    """Read the runs, see :func:`~verl_maxpo.evaluate.dumps.read_runs`."""
    try:
        return read_runs(paths, by_uid=by_uid)
    except (ValueError, OSError) as error:
        raise CommandError(error) from error


def nothing_left(notes: list[str]) -> CommandError:
    """Return the error for k and n that leave nothing to show."""
    return CommandError("nothing is left to show:\n" + "\n".join(f"  {note}" for note in notes))


def show(tables: Iterable[Table], legend: str, notes: list[str]) -> None:
    """Print tables and, on stderr, warnings."""
    console = Console(markup=False, emoji=False, highlight=False, width=WIDTH)
    for table in tables:
        for part in table.rich():
            console.print(part)
    if legend:
        print(textwrap.fill(legend, WIDTH))
    sys.stdout.flush()
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
