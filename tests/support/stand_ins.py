"""Programs that only write down how they were called, so that a script runs without what it would start."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import NamedTuple

#: Fails where its command line has the text in FAIL.
STAND_IN = """#!/usr/bin/env bash
call=$(printf '%q ' "${{VERL_PLATFORM:-gpu}}" "$(basename "$0")" "$@")
printf '%s\\n' "$call" >>{calls} # at once, as others may write too
[[ -z ${{FAIL:-}} || "$(basename "$0") $*" != *"$FAIL"* ]] || exit 1
{then}
"""


class Call(NamedTuple):
    """One call of a stand-in."""

    platform: str
    program: str
    arguments: list[str]


class StandIns:
    """A folder to run commands in, with stand-ins first in their path.

    Args:
        folder: Where commands run; the stand-ins are in ``bin`` there.
        programs: Their names, and the shell commands with which each goes on once it has written down its call.
    """

    def __init__(self, folder: Path, **programs: str) -> None:
        self.folder, self._calls = folder, folder / "calls"
        (folder / "bin").mkdir()
        for name, then in programs.items():
            file = folder / "bin" / name.replace("_", "-")
            file.write_text(STAND_IN.format(calls=shlex.quote(str(self._calls)), then=then))
            file.chmod(0o755)

    def run(self, *command: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command with settings from the environment; :attr:`calls` are then those that it made."""
        self._calls.write_text("")
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", **settings}
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=120)

    def succeed(self, *command: str | Path, **settings: str) -> list[Call]:
        """Run a command that has to succeed, and return its calls."""
        done = self.run(*command, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.calls

    @property
    def calls(self) -> list[Call]:
        """The calls of the last command, in their order."""
        words = map(shlex.split, self._calls.read_text().splitlines())
        return [Call(platform, program, arguments) for platform, program, *arguments in words]
