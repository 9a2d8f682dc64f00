"""Calls into the C library for what Python's standard library lacks."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: Any) -> int:
    """Call a function of the C library that returns -1 and sets ``errno`` where it fails.

    Raises:
        OSError: It failed.
    """
    words = (ctypes.c_long(word) if isinstance(word, int) else word for word in arguments)
    result: int = getattr(_libc, function)(*words)
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")
    return result


def die_with_parent(signal: int) -> None:
    """Let the kernel send this process the signal when its parent ends."""
    call("prctl", _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory and environment."""
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def gain_no_privileges() -> None:
    """Give up, for good, what a set-user-ID program would add."""
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up all capabilities, effective, permitted and inheritable."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())
