"""Landlock: the kernel lets this process read what is listed, and nothing else of the file system.

Three system calls, see docs.kernel.org/userspace-api/landlock.html. (The binding on PyPI, ``landlock``, is a
development release.)
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from verl_maxpo.rewards.isolation.libc import call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3

#: Kinds of access that each version of the interface knows; what a ruleset handles and no rule allows is denied.
_ACCESS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def restrict(readable: Iterable[Path], listable: Iterable[Path]) -> None:
    """Allow this process, for good, to read some files and folders, and in others to see the names only.

    Raises:
        OSError: The kernel has no Landlock, or it is switched off.
    """
    version = call("syscall", _CREATE_RULESET, None, 0, _VERSION)
    ruleset = call("syscall", _CREATE_RULESET, ctypes.byref(ctypes.c_uint64(_ACCESS[min(version, 5)])), 8, 0)
    for path in readable:
        _allow(ruleset, path, _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE)
    for path in listable:
        _allow(ruleset, path, _READ_DIR)
    call("syscall", _RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = _PathBeneath(access, descriptor)
    call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(descriptor)
