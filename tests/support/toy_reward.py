"""A reward function whose "responses" say what to do to the process that verifies them."""

import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path


def spin():
    while True:
        pass


ACTIONS = {
    "spin": spin,
    "sleep": lambda: time.sleep(3600),
    "big integer": lambda: 9**9**9,
    "ignore signals": lambda: [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGALRM)] and spin(),
    "memory": lambda: bytearray(1 << 40),
    "much memory": lambda: [bytearray(1 << 24) for _ in range(1 << 20)],
    "die": lambda: os._exit(3),
    "segfault": lambda: os.abort(),
    "raise": lambda: 1 / 0,
    "exit": lambda: exit(1),
    "recursion": lambda: (recurse := lambda: recurse())(),
    "write": lambda: Path("/tmp/verl_maxpo_canary").write_text("x"),
    "append": lambda: os.open("/tmp/verl_maxpo_canary", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    "delete": lambda: os.unlink(__file__),
    "mkdir": lambda: os.mkdir("/tmp/verl_maxpo_canary"),
    "socket": lambda: socket.socket(),
    "connect": lambda: socket.create_connection(("127.0.0.1", 22)),
    "subprocess": lambda: subprocess.run(["/bin/true"]),
    "system": lambda: os.system("true"),
    "fork": lambda: os.fork() or os._exit(0),
    "kill parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "ctypes": lambda: ctypes.CDLL(None).getpid(),
    "thread": lambda: threading.Thread(target=print).start(),
    "environment": lambda: os.environ["PATH"],
    "print": lambda: print("x" * 100_000),
    "nan": lambda: float("nan"),
    "out of range": lambda: 7.0,
}

#: What Python code may not do; each is reported as refused.
FORBIDDEN = [
    "write", "append", "delete", "mkdir", "socket", "connect", "subprocess", "system", "fork", "kill parent", "ctypes",
]  # fmt: skip


def compute_score(data_source, solution_str, ground_truth, extra_info):
    if solution_str in ACTIONS:
        outcome = ACTIONS[solution_str]()
        if solution_str in ("nan", "out of range"):
            return outcome
    return float(solution_str == ground_truth)


def as_text(extra_info):
    numbers = {key: int(value) for key, value in extra_info.items() if key == "num_turns"}
    return str(dict(sorted({**extra_info, **numbers}.items())))


def echo_extra_info(data_source, solution_str, ground_truth, extra_info):
    return {"score": 0.0, "pred": as_text(extra_info)}
