"""Ways out of a verifier's process, as native code would go them.

ctypes and the numbers of the system calls are loaded here, before the lock-down; a call through a function that is
loaded already raises no audit event. Each escape returns the results of its system calls: -1 is a refusal.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_NEW = {"open_tree": 428, "move_mount": 429, "fchmodat2": 452, "process_madvise": 440, "clone3": 435}
_HERE = -100  # AT_FDCWD
_CONNECTION = 3
_syscall = ctypes.CDLL(None).syscall
_syscall.restype = ctypes.c_long
_buffer = ctypes.create_string_buffer(4096)
_limit = (ctypes.c_uint64 * 2)(0, 0)
_argv = (ctypes.c_char_p * 2)(b"/bin/true", None)


def _number(name: str) -> int:
    if name in _NEW:
        return _NEW[name]
    try:
        import pyseccomp
    except (ImportError, RuntimeError):
        return -1
    return pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)


_NAMES = [
    "add_key",
    "bpf",
    "chmod",
    "clone",
    "dup3",
    "execve",
    "fcntl",
    "fork",
    "fsetxattr",
    "futimesat",
    "getpid",
    "io_uring_setup",
    "ioctl",
    "keyctl",
    "kill",
    "link",
    "memfd_create",
    "mkdirat",
    "mount",
    "msgget",
    "openat",
    "perf_event_open",
    "pidfd_open",
    "prctl",
    "prlimit64",
    "process_vm_readv",
    "ptrace",
    "pwrite64",
    "read",
    "renameat",
    "sched_setaffinity",
    "sched_setscheduler",
    "semget",
    "sendto",
    "setns",
    "setpriority",
    "setuid",
    "shmget",
    "socket",
    "socketpair",
    "symlinkat",
    "tgkill",
    "timer_create",
    "truncate",
    "unlinkat",
    "unshare",
    "userfaultfd",
    "vfork",
    "write",
]
NUMBERS = {name: _number(name) for name in (*_NAMES, *_NEW)}


def call(name: str, *words: object) -> int:
    """Make a system call."""
    return _syscall(NUMBERS[name], *(ctypes.c_long(word) if isinstance(word, int) else word for word in words))


def _open(path: str, flags: int = os.O_RDONLY) -> int:
    return call("openat", _HERE, path.encode(), flags, 0o600)


def _read(path: str) -> int:
    return call("read", descriptor, _buffer, 4096) if (descriptor := _open(path)) >= 0 else -1


def _signal_by_file(pid: int) -> list[int]:
    set_flags, set_owner, set_signal = 4, 8, 10
    return [
        call("fcntl", _CONNECTION, set_owner, pid),
        call("fcntl", _CONNECTION, set_signal, signal.SIGKILL),
        call("fcntl", _CONNECTION, set_flags, 0o20000),
    ]


def _every_descriptor(text: bytes) -> list[int]:
    return [call("write", descriptor, text, len(text)) for descriptor in range(_CONNECTION + 1, 200)]


#: Name: what it does to the process of that ID.
TO_A_PROCESS: dict[str, Callable[[int], int | list[int]]] = {
    "kill": lambda pid: call("kill", pid, signal.SIGKILL),
    "tgkill": lambda pid: call("tgkill", pid, pid, signal.SIGKILL),
    "fcntl F_SETOWN and F_SETSIG": _signal_by_file,
    "prlimit64": lambda pid: call("prlimit64", pid, 0, _limit, None),
    "pidfd_open": lambda pid: call("pidfd_open", pid, 0),
    "setpriority": lambda pid: call("setpriority", 0, pid, 19),
    "sched_setscheduler": lambda pid: call("sched_setscheduler", pid, 5, ctypes.byref(ctypes.c_int(0))),
    "sched_setaffinity": lambda pid: call("sched_setaffinity", pid, 8, ctypes.byref(ctypes.c_uint64(1))),
    "ptrace": lambda pid: call("ptrace", 16, pid, 0, 0),
    "process_vm_readv": lambda pid: call("process_vm_readv", pid, None, 0, None, 0, 0),
    "environ": lambda pid: _read(f"/proc/{pid}/environ"),
    "mem": lambda pid: _open(f"/proc/{pid}/mem"),
}

#: Name: what it does to the file of that path.
TO_A_FILE: dict[str, Callable[[str], int | list[int]]] = {
    "read": _read,
    "write": lambda path: _open(path, os.O_WRONLY),
    "create": lambda path: _open(path + ".new", os.O_WRONLY | os.O_CREAT),
    "unlink": lambda path: call("unlinkat", _HERE, path.encode(), 0),
    "rename": lambda path: call("renameat", _HERE, path.encode(), _HERE, f"{path}.new".encode()),
    "symlink": lambda path: call("symlinkat", path.encode(), _HERE, f"{path}.new".encode()),
    "mkdir": lambda path: call("mkdirat", _HERE, f"{path}.new".encode(), 0o700),
    "fchmodat2": lambda path: call("fchmodat2", _HERE, path.encode(), 0o777, 0),
    "ioctl FS_IOC_SETFLAGS": lambda path: call("ioctl", _CONNECTION, 0x40086602, ctypes.byref(ctypes.c_long(0))),
    "truncate": lambda path: call("truncate", path.encode(), 0),
}

#: Name: what it does to the machine.
TO_THE_MACHINE: dict[str, Callable[[], int | list[int]]] = {
    "shmget": lambda: call("shmget", 0, 4096, 0o1600),
    "msgget": lambda: call("msgget", 0, 0o1600),
    "semget": lambda: call("semget", 0, 1, 0o1600),
    "socket": lambda: [call("socket", family, 1, 0) for family in (1, 2, 10, 16)],
    "socketpair": lambda: call("socketpair", 1, 1, 0, _buffer),
    "open_tree and move_mount": lambda: [
        call("open_tree", _HERE, b"/", 1),
        call("move_mount", _HERE, b"/", _HERE, b"/", 0),
    ],
    "mount": lambda: call("mount", b"none", b"/", b"tmpfs", 0, None),
    "unshare": lambda: call("unshare", 0x10000000),
    "setns": lambda: call("setns", _CONNECTION, 0),
    "setuid": lambda: call("setuid", 0),
    "fork": lambda: call("clone", signal.SIGCHLD, 0, 0, 0, 0) or os._exit(0),
    "clone3": lambda: call("clone3", _buffer, 64),
    "vfork": lambda: call("vfork") or os._exit(0),
    "execve": lambda: call("execve", b"/bin/true", _argv, None),
    "memfd_create": lambda: call("memfd_create", b"x", 0),
    "io_uring_setup": lambda: call("io_uring_setup", 1, _buffer),
    "bpf": lambda: call("bpf", 0, _buffer, 64),
    "userfaultfd": lambda: call("userfaultfd", 0),
    "perf_event_open": lambda: call("perf_event_open", _buffer, 0, -1, -1, 0),
    "keyctl": lambda: [call("keyctl", 0, -3, 1), call("add_key", b"user", b"x", b"x", 1, -2)],
    "prctl": lambda: call("prctl", 4, 1, 0, 0, 0),
    "timer_create": lambda: call("timer_create", 0, None, _buffer),
    "inherited descriptors": lambda: _every_descriptor(b"UNREGISTER:/victim:shared_memory\n"),
    "own environment": lambda: _read("/proc/self/environ"),
    "own memory": lambda: _open("/proc/self/mem"),
    "process 1": lambda: _read("/proc/1/environ"),
}


def escape(kind: str, name: str, target: str) -> list[int]:
    """Try one."""
    if kind == "process":
        results = TO_A_PROCESS[name](int(target))
    elif kind == "file":
        results = TO_A_FILE[name](target)
    else:
        results = TO_THE_MACHINE[name]()
    return results if isinstance(results, list) else [results]
