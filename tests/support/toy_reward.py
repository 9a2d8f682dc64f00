"""A reward function whose "responses" say what to do to the process that verifies them."""

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from support.escapes import escape

CONNECTION = 3
remembered = []


def spin():
    while True:
        pass


def ignore_all_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    spin()


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def write_raw(data):
    """Say something on the child's connection, as code that broke into the child would."""
    os.write(CONNECTION, data)


def empty_the_list_of_violations():
    try:
        os.unlink(__file__)
    except PermissionError:
        for thing in gc.get_objects():
            if isinstance(thing, list) and thing == ["os.remove"]:
                thing.clear()


class Executes:
    def __reduce__(self):
        return (os.system, ("touch /tmp/verl_maxpo_canary",))


ACTIONS = {
    "spin": spin,
    "sleep": lambda: time.sleep(3600),
    "big integer": lambda: 9**9**9,
    "ignore signals": ignore_all_signals,
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
    "import": lambda: __import__("wave"),
    "nan": lambda: float("nan"),
    "out of range": lambda: 7.0,
    "remember": lambda: remembered.append(1),
    "work": lambda: work(0.02),
    "half a second": lambda: work(0.5),
    "close": lambda: os.close(CONNECTION),
    "send a pickle": lambda: write_raw(pickle.dumps(Executes())),
    "send a pickle in a frame": lambda: write_raw(struct.pack("!I", 60) + pickle.dumps(Executes()).ljust(60)),
    "send too much": lambda: write_raw(struct.pack("!I", 1 << 31)),
    "send two verdicts": lambda: write_raw(2 * b"\0\0\0\1\xc0"),
    "empty the list": empty_the_list_of_violations,
}

#: What Python code may not do, and what it is called then; a name that Python has no audit event for is None.
FORBIDDEN = [
    "write", "append", "delete", "mkdir", "socket", "connect", "subprocess", "system", "fork", "kill parent", "ctypes",
]  # fmt: skip


def compute_score(data_source, solution_str, ground_truth, extra_info):
    if solution_str.startswith("escape|"):
        results = escape(*solution_str.split("|")[1:])
        return {"score": 0.0, "answer": ",".join(map(str, results))}
    if solution_str.startswith("try "):
        try:
            ACTIONS[solution_str[4:]]()
        except PermissionError:
            return 1.0
        return 0.0
    if solution_str in ACTIONS:
        outcome = ACTIONS[solution_str]()
        if solution_str in ("nan", "out of range"):
            return outcome
        return float(solution_str in ("work", "half a second"))
    return float(solution_str == ground_truth and not remembered)


def length(data_source, solution_str, ground_truth, extra_info):
    return len(solution_str) / 10 + 0 / len(solution_str)


def judged(data_source, solution_str, ground_truth, extra_info):
    if solution_str == "spin":
        while True:
            pass
    return {"score": 1.0, "judge" if solution_str == ground_truth else "grade": 0.5}


def as_text(extra_info):
    numbers = {key: int(value) for key, value in extra_info.items() if key == "num_turns"}
    return str(dict(sorted({**extra_info, **numbers}.items())))


def echo_extra_info(data_source, solution_str, ground_truth, extra_info):
    return {"score": 0.0, "answer": as_text(extra_info)}


def chatty(data_source, solution_str, ground_truth, extra_info):
    with contextlib.suppress(OSError):
        Path("/tmp/verl_maxpo_log").write_text(solution_str)
    return 1.0
