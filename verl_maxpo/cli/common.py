"""What the commands share."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any


class CommandError(Exception):
    """Ends a command; the message is for the user.

    Attributes:
        status: The exit status, 2 for what cannot be used, 1 for what is wrong with what was looked at.
    """

    def __init__(self, message: object, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def add_json(parser: ArgumentParser) -> None:
    """Add the option ``--json``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there as JSON")


def write_json(content: Any, file: Path | None) -> None:
    """Write JSON and make its folder; nothing without a file."""
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def not_negative(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)
