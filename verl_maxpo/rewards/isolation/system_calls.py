"""The system calls that a child may make, and no others: a seccomp filter, made by libseccomp."""

from __future__ import annotations

import ctypes
import os
import tempfile
from errno import EACCES, ENOSYS
from typing import Any

from verl_maxpo.rewards.isolation import libc

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_INSTRUCTION_SIZE = 8
_CLONE_THREAD = 0x00010000
_F_GETFD, _F_SETFD, _F_GETFL = 1, 2, 3
_WRITING = (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, 0o20000000)  # the last is O_TMPFILE

#: Calls whose arguments do not matter: each acts on this process, or on what it may reach already.
ALLOWED_CALLS = (
    # the connection, and files opened for reading
    "read", "readv", "pread64", "preadv", "write", "writev", "close", "lseek", "fstat", "stat", "lstat", "newfstatat",
    "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "getcwd", "poll", "ppoll",
    "select", "pselect6",
    # memory
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise",
    # threads of its own
    "futex", "set_robust_list", "set_tid_address", "rseq", "sched_yield", "sched_getaffinity", "membarrier",
    # signals that it receives
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
    # time and chance
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom",
    # facts about itself
    "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getrusage", "times", "uname", "sysinfo",
    "getrlimit", "getcpu", "arch_prctl",
    "exit", "exit_group",
)  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


class CallFilter:
    """The filter, compiled once; any call that it does not allow fails with EACCES.

    Raises:
        OSError: No libseccomp here.
    """

    def __init__(self) -> None:
        try:
            calls = _allowed_calls()
        except (ImportError, RuntimeError) as error:
            raise OSError(f"no libseccomp: {error}") from error
        with tempfile.TemporaryFile() as file:
            calls.export_bpf(file)
            file.seek(0)
            self._code = file.read()

    def apply(self) -> None:
        """Apply it to this process, for good."""
        libc.gain_no_privileges()
        program = _Program(len(self._code) // _INSTRUCTION_SIZE, self._code)
        libc.call("prctl", _PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)


def _allowed_calls() -> Any:
    import pyseccomp as seccomp

    calls = seccomp.SyscallFilter(seccomp.ERRNO(EACCES))
    for name in ALLOWED_CALLS:
        _allow(calls, name)
    for flag_position, name in ((1, "open"), (2, "openat")):
        _allow(calls, name, *(seccomp.Arg(flag_position, seccomp.MASKED_EQ, sum(_WRITING), 0),))
    for command in (_F_GETFD, _F_SETFD, _F_GETFL):
        _allow(calls, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    _allow(calls, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    _allow(calls, "prlimit64", seccomp.Arg(0, seccomp.EQ, 0), seccomp.Arg(2, seccomp.EQ, 0))  # its own, to read
    calls.add_rule(seccomp.ERRNO(ENOSYS), "clone3")  # the C library then uses clone
    return calls


def _allow(calls: Any, name: str, *conditions: Any) -> None:
    import pyseccomp as seccomp

    try:
        calls.add_rule(seccomp.ALLOW, name, *conditions)
    except (OSError, ValueError):  # no such system call on this architecture
        return
