"""Namespaces: a child sees only its own processes, no network, and only those files that verifiers read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from errno import EPERM
from pathlib import Path

from verl_maxpo.rewards.isolation.libc import call, die_with_parent

_NEW_MOUNTS, _NEW_HOST, _NEW_IPC, _NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_ROOT = Path("/proc")  # where the new root is put together: a folder that exists, and that no verifier reads


def enter_process_namespace() -> int:
    """Continue as the first process of a new process namespace; when it ends, all processes in it die.

    Without the right to make one, try it inside a new user namespace; OSError if the system allows neither.
    Returns 0 in the new process, and its ID in the caller, which stays outside and only waits.
    """
    try:
        call("unshare", _NEW_PROCESSES)
    except OSError as error:
        if error.errno != EPERM:
            raise
        _enter_user_namespace(_NEW_PROCESSES)
    pid = os.fork()
    if pid == 0:
        die_with_parent(signal.SIGKILL)
    return pid


def enter_private_root(readable: Iterable[Path]) -> None:
    """Change to a root folder that holds only the listed paths, read-only, and leave the network.

    It has no /proc, and its own System V memory.

    Raises:
        OSError: This process may not.
    """
    call("unshare", _NEW_MOUNTS | _NEW_NETWORK | _NEW_IPC | _NEW_HOST)
    _mount(None, Path("/"), _RECURSIVE | _PRIVATE)
    _mount("tmpfs", _ROOT, _NO_SETUID | _NO_DEVICES, kind="tmpfs")
    os.chmod(_ROOT, 0o755)
    for path in readable:
        _show(path)
    _mount(None, _ROOT, _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES)
    os.chroot(_ROOT)
    os.chdir("/")


def _enter_user_namespace(others: int) -> None:
    user, group = os.geteuid(), os.getegid()
    call("unshare", _NEW_USER | others)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _show(path: Path) -> None:
    target = _ROOT / path.relative_to("/")
    if path.is_dir():
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
    else:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.touch()
    _mount(str(path), target, _BIND | _RECURSIVE)
    kept = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)  # the same bits as mount's
    _mount(None, target, _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES | kept)


def _mount(source: str | None, target: Path, flags: int, kind: str | None = None) -> None:
    call("mount", source and source.encode(), str(target).encode(), kind and kind.encode(), flags, None)
