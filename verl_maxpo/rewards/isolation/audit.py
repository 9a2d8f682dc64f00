"""Names what Python code tried but may not do.

An audit hook sees only Python code, and code in the same process can undo it. It just fills ``VerifierResult.refused``;
the other layers keep a child from doing harm.
"""

from __future__ import annotations

import os
import sys
from errno import EACCES
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

#: The beginnings of audit events (docs.python.org/3/library/audit_events.html).
FORBIDDEN_EVENTS = (
    "ctypes.", "fcntl.", "ftplib.", "http.", "imaplib.", "mmap.", "os.add_dll_directory", "os.chflags", "os.chmod",
    "os.chown", "os.exec", "os.fork", "os.kill", "os.link", "os.lockf", "os.mkdir", "os.posix_spawn", "os.putenv",
    "os.remove", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.startfile", "os.symlink", "os.system",
    "os.truncate", "os.unsetenv", "os.utime", "poplib.", "pty.", "resource.", "shutil.", "signal.pthread_kill",
    "smtplib.", "socket.", "sqlite3.", "subprocess.", "syslog.", "telnetlib.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip

_refused: list[str] = []


def refuse_forbidden_events() -> None:
    """Raise PermissionError, from now on, for each forbidden event, and note its name."""
    sys.addaudithook(_hook)


def take_refused() -> tuple[str, ...]:
    """Return, and forget, the forbidden events since the last call, each name once."""
    names = tuple(sorted(set(_refused)))
    _refused.clear()
    return names


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if (event == "open" and (arguments[2] or 0) & _WRITES) or event.startswith(FORBIDDEN_EVENTS):
        _refused.append(event)
        raise PermissionError(EACCES, f"a verifier may not do this: {event}")
