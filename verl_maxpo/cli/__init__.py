"""The command ``verl-maxpo``: one module for each of its commands, imported only when needed.

``--help`` shows the docstring of the command's module. ``configure(parser)`` adds the arguments, and ``run(options)``
returns the exit status: 0, or 1 if the command found something wrong. ``run`` raises
:class:`~verl_maxpo.cli.common.CommandError` if it cannot do what the user asked for.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from verl_maxpo import __version__
from verl_maxpo.cli.common import CommandError


class _Command(NamedTuple):
    extra: str  # the package's extra that installs what the command needs
    summary: str


_COMMANDS = {
    "doctor": _Command("trainer", "say whether a run with maxpo would start here, and what to do if not"),
    "prepare": _Command("data", "write a data set in verl's schema, without duplicates and test problems"),
    "check": _Command("rewards", "verify every gold answer of a data set before training"),
    "evaluate": _Command("evaluate", "unbiased pass@k and max@k of runs, with intervals, from verl's dumps"),
    "choose-k": _Command("evaluate", "show which k and n would give a signal, from the rewards of a dump"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns 0, or 1 if the command found something wrong, or 2 if the arguments cannot be used.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    name = next(iter(arguments), "")
    try:
        module: Any = _module_of(name) if name in _COMMANDS else None
        options = _parser(name, module).parse_args(arguments)
        status = int(module.run(options))  # argparse exits if there is no command
        sys.stdout.flush()
        return status
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except ModuleNotFoundError as error:
        if name not in _COMMANDS or (error.name or "").startswith("verl_maxpo"):
            raise
        extra = _COMMANDS[name].extra
        print(f"error: {name} needs {error.name}: pip install 'verl-maxpo[{extra}]'", file=sys.stderr)
        return 2
    except SystemExit as stop:  # raised by argparse after --help and on usage errors
        return int(stop.code or 0)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return 141
    except KeyboardInterrupt:
        return 130


def _module_of(name: str) -> Any:
    return import_module(f"verl_maxpo.cli.{name.replace('-', '_')}")


def _parser(chosen: str, module: Any) -> ArgumentParser:
    parser = ArgumentParser(prog="verl-maxpo", description="Data, checks and evaluation for runs of verl with maxpo.")
    parser.add_argument("--version", action="version", version=f"verl-maxpo {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        below = commands.add_parser(name, help=command.summary, formatter_class=RawDescriptionHelpFormatter)
        if name == chosen:
            below.description = module.__doc__
            module.configure(below)
    return parser
