"""Lock a process down before it looks at a response.

A response is untrusted text, and parsers of mathematics are made of ``eval``, regular expressions and integers without
bounds. The verifiers check what they evaluate against a grammar; this is the second line, for what they overlook.

=====================  ==============================================================================================
environment            emptied, so that no token or key is there to be read
memory                 ``RLIMIT_AS``: what the process has after its imports, and the limit on top
CPU time               ``RLIMIT_CPU``, renewed for every response: a child outlives neither its limit nor its parent
files                  no writing, creating, renaming, deleting (seccomp, audit hook, ``RLIMIT_FSIZE``); *reading* is
                       allowed, since modules are imported late
standard streams       /dev/null
sockets                none
processes and signals  none started, none signalled or traced
ctypes                 no foreign functions
=====================  ==============================================================================================

The audit hook guards against Python code and the seccomp filter, on Linux with libseccomp, against everything. Neither
hides what a process can read, and native code that broke into the kernel is beyond both: who verifies answers of a
model trained to attack needs a virtual machine. Without libseccomp the audit hook is the only guard of its kind, which
native code does not see.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import signal
import sys
import threading
from errno import EACCES, ENOSYS
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CLONE_THREAD = 0x00010000

#: What Python code may not do, as the beginnings of audit events (docs.python.org/3/library/audit_events.html).
FORBIDDEN_EVENTS = (
    "ctypes.", "fcntl.", "ftplib.", "http.", "imaplib.", "mmap.", "os.add_dll_directory", "os.chflags", "os.chmod",
    "os.chown", "os.exec", "os.fork", "os.kill", "os.link", "os.lockf", "os.mkdir", "os.posix_spawn", "os.putenv",
    "os.remove", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.startfile", "os.symlink", "os.system",
    "os.truncate", "os.unsetenv", "os.utime", "poplib.", "pty.", "resource.", "shutil.", "signal.pthread_kill",
    "smtplib.", "socket.", "sqlite3.", "subprocess.", "syslog.", "telnetlib.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip

#: What no code may do, as names of system calls; those that a platform lacks are skipped.
FORBIDDEN_CALLS = (
    # processes and signals (clone is allowed for threads only, clone3 is answered with "not implemented")
    "fork", "vfork", "execve", "execveat", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "ptrace", "process_vm_readv", "process_vm_writev", "setpriority",
    # sockets
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4",
    # files
    "creat", "truncate", "ftruncate", "fallocate", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir",
    "mkdirat", "rmdir", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat",
    "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr",
    "fsetxattr", "removexattr", "memfd_create", "shm_open", "chroot", "pivot_root", "mount", "umount2",
    # ways around this list
    "io_uring_setup", "open_by_handle_at", "bpf", "userfaultfd", "perf_event_open", "unshare", "setns", "keyctl",
    "add_key", "request_key", "init_module", "finit_module", "kexec_load", "reboot", "swapon", "swapoff",
)  # fmt: skip

_violations: list[str] = []


def lock_down(memory_limit_mb: int) -> bool:
    """Take from this process, for good, what a verifier does not need.

    Args:
        memory_limit_mb: Memory on top of what the process has now, MiB of address space.

    Returns:
        Whether the seccomp filter is in place; the rest always is.
    """
    filtered = _seccomp_filter()
    sys.dont_write_bytecode = True
    os.environ.clear()
    _discard_output()
    _exit_with_parent()
    _limit_resources(memory_limit_mb)
    sys.addaudithook(_forbid)
    if filtered is None:
        return False
    filtered.load()
    return True


def has_seccomp() -> bool:
    """Return whether :func:`lock_down` can put a seccomp filter in place here."""
    return _seccomp_filter() is not None


def limit_cpu_time(seconds: float) -> None:
    """Let the kernel kill this process if it uses more than so many further seconds of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.prlimit(0, resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def take_violations() -> list[str]:
    """Return, and forget, the forbidden things that Python code has tried since the last call."""
    taken = _violations[:]
    _violations.clear()
    return taken


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "resource.prlimit" and _renews_cpu_limit(arguments):
        return
    if (event == "open" and (arguments[2] or 0) & _WRITES) or event.startswith(FORBIDDEN_EVENTS):
        _violations.append(event)
        raise PermissionError(EACCES, f"a verifier may not do this: {event}")


def _renews_cpu_limit(arguments: tuple[Any, ...]) -> bool:
    return arguments[:2] == (0, resource.RLIMIT_CPU)


def _discard_output() -> None:
    """Keep a response's text out of the logs: the result is all that leaves the process."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


def _limit_resources(memory_limit_mb: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + (memory_limit_mb << 20))
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _exit_with_parent() -> None:
    """Exit when the parent has gone; a child stuck in native code then has its CPU time left."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="exit with parent", daemon=True).start()


def _seccomp_filter() -> Any:
    """Return the filter, not yet loaded, or None where the platform has none."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError):  # another platform, or no libseccomp on it
        return None
    filter_ = seccomp.SyscallFilter(seccomp.ALLOW)
    deny = seccomp.ERRNO(EACCES)
    for call in FORBIDDEN_CALLS:
        _add_rule(filter_, deny, call)
    for bit in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND):
        _add_rule(filter_, deny, "open", seccomp.Arg(1, seccomp.MASKED_EQ, bit, bit))
        _add_rule(filter_, deny, "openat", seccomp.Arg(2, seccomp.MASKED_EQ, bit, bit))
    _add_rule(filter_, seccomp.ERRNO(ENOSYS), "openat2")
    _add_rule(filter_, seccomp.ERRNO(ENOSYS), "clone3")
    _add_rule(filter_, deny, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, 0))
    for end in (signal.SIGTERM, signal.SIGXCPU):  # what the pool and the kernel end this process with stays deadly
        _add_rule(filter_, deny, "rt_sigaction", seccomp.Arg(0, seccomp.EQ, end))
    return filter_


def _add_rule(filter_: Any, action: int, call: str, *conditions: Any) -> None:
    try:
        filter_.add_rule(action, call, *conditions)
    except (OSError, ValueError):  # no such system call here
        return
