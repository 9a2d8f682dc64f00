"""Python processes in which none of our modules and nothing of verl is imported yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

RunPython = Callable[..., subprocess.CompletedProcess[str]]

#: What verl and its trainer import of others, which costs ten seconds of CPU time.
THIRD_PARTY = [
    *("torch", "torch._dynamo", "torch.distributed.fsdp", "transformers", "ray", "tensordict", "transfer_queue"),
    *("datasets", "fastapi", "hydra", "peft"),
]

_context = get_context("forkserver")
_context.set_forkserver_preload(THIRD_PARTY)


def run_fresh(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run Python code in an interpreter of its own; keywords are environment variables, None unsets one."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=_merged(environment), timeout=280)


def run_forked(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Do as :func:`run_fresh`, in a fork of a process that has imported :data:`THIRD_PARTY` and nothing else."""
    with TemporaryDirectory() as folder:
        streams = Path(folder, "stdout"), Path(folder, "stderr")
        process = _context.Process(target=_run, args=(code, _merged(environment), *streams))
        process.start()
        process.join(280)
        process.kill()
        process.join()
        return subprocess.CompletedProcess(code, process.exitcode, *(stream.read_text() for stream in streams))


def run_module(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Do as ``python -m NAME ARGUMENTS`` in a fork, see :func:`run_forked`."""
    code = f"import runpy, sys; sys.argv[1:] = {arguments!r}; runpy.run_module({name!r}, None, '__main__', True)"
    return run_forked(code)


def _merged(environment: dict[str, str | None]) -> dict[str, str]:
    merged = {**os.environ, **environment}
    return {name: value for name, value in merged.items() if value is not None}


def _run(code: str, environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    for stream, file in ((1, stdout), (2, stderr)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(environment)
    assert not {"verl", "verl_maxpo"} & sys.modules.keys()
    exec(code, {"__name__": "__main__"})
