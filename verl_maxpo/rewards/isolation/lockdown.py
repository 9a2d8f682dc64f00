"""Take from a process what a verifier does not need, before it looks at a response.

A response is untrusted text, and parsers of mathematics are made of ``eval``, regular expressions and integers without
bounds. The verifiers check what they evaluate against a grammar; this is the second line, for what they overlook.
``docs/isolation.md`` says what each layer stops, and what is left.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verl_maxpo.rewards.isolation import landlock, libc
from verl_maxpo.rewards.isolation.audit import refuse_forbidden_events
from verl_maxpo.rewards.isolation.messages import Layer
from verl_maxpo.rewards.isolation.namespaces import enter_private_root
from verl_maxpo.rewards.isolation.system_calls import CallFilter

#: The child's one open file beside the standard streams, which are /dev/null.
CONNECTION = 3

_NOBODY = 65534
_OPEN_FILES = 64
_SHARED = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/alternatives",
           "/usr/share/zoneinfo", "/etc/localtime")  # fmt: skip


class Lockdown:
    """Locks the server down once, on behalf of its children, and does the rest in each child.

    Args:
        memory_limit_mb: MiB of address space for a child on top of what the server has.
        cpu_limit_s: Seconds of CPU time after which the kernel ends a child that nobody watches any more.

    Attributes:
        layers: The layers, in place or missing.
    """

    def __init__(self, memory_limit_mb: int, cpu_limit_s: float) -> None:
        self.layers: list[Layer] = []
        self._cpu_limit_s = cpu_limit_s
        self._null = os.open(os.devnull, os.O_RDWR)
        self._address_space = _address_space() + (memory_limit_mb << 20)
        self._calls: CallFilter | None = None

    def lock_server(self) -> None:
        """Put in place what children inherit. Then this process can fork, talk to the reward worker and little else."""
        os.environ.clear()
        sys.dont_write_bytecode = True
        readable, listable = readable_paths()
        self._try("system calls", self._make_filter)  # now, while libseccomp can still be found
        self._try("private root, no network", enter_private_root, readable)
        self._try("landlock", self._restrict_reading, readable, listable)
        self._try("unprivileged user", _become_nobody, readable)
        self._try("no capabilities", libc.drop_capabilities)
        libc.hide_memory()
        libc.die_with_parent(signal.SIGKILL)  # again: changing the user resets it

    def lock_child(self, connection: int) -> None:
        """Take away the rest: all open files but the connection, and all system calls but a few."""
        libc.die_with_parent(signal.SIGKILL)
        for stream in (0, 1, 2):
            os.dup2(self._null, stream)
        os.dup2(connection, CONNECTION)
        os.closerange(CONNECTION + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._limit_resources()
        refuse_forbidden_events()
        if self._calls is not None:
            self._calls.apply()

    def _restrict_reading(self, readable: list[Path], listable: list[Path]) -> None:
        libc.gain_no_privileges()
        landlock.restrict(readable, [path for path in listable if path.is_dir()])

    def _make_filter(self) -> None:
        self._calls = CallFilter()

    def _try(self, layer: str, enter: Any, *arguments: Any) -> None:
        try:
            enter(*arguments)
        except OSError as error:
            self.layers.append(Layer(layer, False, str(error)))
        else:
            self.layers.append(Layer(layer, True))

    def _limit_resources(self) -> None:
        _limit(resource.RLIMIT_AS, self._address_space)
        _limit(resource.RLIMIT_CPU, int(self._cpu_limit_s) + 1)
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_FSIZE, 0)
        _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)


def readable_paths() -> tuple[list[Path], list[Path]]:
    """Return what a verifier may read, and the folders of which it may see the names.

    That is the interpreter with its libraries, installed packages, and of other folders on ``sys.path`` (a project, the
    working directory) the modules and packages alone.
    """
    whole = [*map(Path, _SHARED), *_interpreter()]
    parts: list[Path] = []
    folders: list[Path] = []
    for entry in map(Path.absolute, map(Path, sys.path)):
        if entry.is_file() or entry.name in ("site-packages", "dist-packages"):
            whole.append(entry)
        elif entry.is_dir():
            folders.append(entry)
            parts += _importable(entry)
    found = dict.fromkeys(path for path in (*whole, *parts, *_loaded_packages()) if path.exists())
    return [path for path in found if not any(parent in found for parent in path.parents)], folders


def _interpreter() -> Iterator[Path]:
    yield from (Path(path) for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib")))
    for prefix in {sys.prefix, sys.base_prefix}:
        yield from (Path(prefix, "lib"), Path(prefix, "lib64"))
    yield from (Path(path) for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path)


def _importable(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix in (".py", ".so") or (path / "__init__.py").is_file():
            yield path


def _loaded_packages() -> Iterator[Path]:
    for name, module in list(sys.modules.items()):
        if "." not in name:
            paths = getattr(module, "__path__", None) or [getattr(module, "__file__", None)]
            yield from (Path(path).absolute() for path in paths if path)


def _become_nobody(readable: list[Path]) -> None:
    if os.geteuid() != 0:
        return
    if unreadable := _unreadable_for_nobody(readable):
        raise PermissionError(f"user {_NOBODY} could not read {unreadable}")
    _set_user(_NOBODY)


def _set_user(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _unreadable_for_nobody(paths: list[Path]) -> str:
    """Return the first of the paths that the unprivileged user could not read, by asking in a process of that user."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            _set_user(_NOBODY)
            found = next((str(path) for path in paths if not os.access(path, os.R_OK)), "")
        except OSError as error:
            found = f"anything ({error})"
        os.write(writer, found.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with open(reader) as file:
        return file.read()


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
