"""The server and the children, as the reward worker's supervisor sees them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections import deque
from enum import Enum
from typing import Any, cast

import msgspec
import psutil

from verl_maxpo.rewards.isolation import messages
from verl_maxpo.rewards.isolation.messages import HEADER, MAX_MESSAGE, MAX_VERDICT, Setup
from verl_maxpo.rewards.result import VerifierResult

#: Seconds to wait for a server to load the verifiers, for it to fork a child, and for it to be gone once killed.
START_S, FORK_S, END_S = 600.0, 60.0, 1.0

#: Multiples of the time limit after which a child is killed that does nothing, and one that waits for a core.
IDLE_LIMITS, WALL_LIMITS = 5.0, 60.0

#: Prefixes of the environment variables that the server gets; no token or key is ever in its memory.
ENVIRONMENT = (
    "PATH", "HOME", "USER", "LANG", "LC_", "TZ", "TMPDIR", "PYTHON", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX",
    "XDG_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "TOKENIZERS_", "HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE",
    "NLTK_DATA", "VERL_PLATFORM", "VERL_USE_", "VERL_LOGGING_LEVEL",
)  # fmt: skip

_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
_RUN_SERVER = """
import sys
sys.path[:] = {path!r}
from verl_maxpo.rewards.isolation.server import main
main({descriptor})
"""


class ServerError(RuntimeError):
    """The server has not started, does not fork or has died."""


class End(Enum):
    """Why a child came to its end without a verdict."""

    DIED = "died"
    MISBEHAVED = "sent something other than a verdict"
    CPU_TIME = "used up its CPU time"
    NO_PROGRESS = "did nothing"
    STOPPED = "was stopped from outside"


class Server:
    """The process that forks children.

    Attributes:
        routes: What became of each route's verifier.
        layers: The layers of the lock-down.
        lost: Whether it has died or is being killed.
    """

    def __init__(self, setup: Setup) -> None:
        self.routes: list[messages.LoadedRoute] = []
        self.layers: list[messages.Layer] = []
        self.lost = False
        self._server: psutil.Process | None = None
        self._ready: asyncio.Future[messages.Ready] = asyncio.get_running_loop().create_future()
        self._births: deque[asyncio.Future[Child]] = deque()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            code = _RUN_SERVER.format(path=sys.path, descriptor=theirs.fileno())
            self._launcher = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        asyncio.get_running_loop().add_reader(self._control, self._read)
        self._send(messages.pickled(setup))

    @classmethod
    async def start(cls, setup: Setup) -> Server:
        """Start one and wait until it has loaded the verifiers.

        Raises:
            ServerError: It failed.
        """
        try:
            server = cls(setup)
        except OSError as error:
            raise ServerError(f"the server of verifiers does not start: {error}") from error
        try:
            ready = await asyncio.wait_for(server._ready, START_S)
        except (ServerError, asyncio.TimeoutError) as error:
            server.kill()
            raise ServerError(f"the server of verifiers has not started: {error or 'no answer'}") from error
        server.routes, server.layers = ready.routes, ready.layers
        return server

    async def fork(self) -> Child:
        """Have a child forked and wait until it is locked down.

        Raises:
            ServerError: There is no new child.
        """
        birth: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._births.append(birth)
        try:
            self._send(b"1")
            child = await asyncio.wait_for(birth, FORK_S)
        except asyncio.TimeoutError:
            self.kill()
            raise ServerError("the server of verifiers did not answer") from None
        if not await child.is_locked_down():
            child.kill()
            raise ServerError("a child could not lock itself down")
        return child

    def check(self) -> None:
        """Kill it if somebody has stopped it: it would never answer."""
        with contextlib.suppress(psutil.Error):
            if self._server is not None and self._server.status() in _STOPPED:
                self.kill()

    def kill(self) -> None:
        """Kill it, and with it all its children."""
        if self.lost:
            return
        self.lost = True
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        _kill(self._server)
        self._end_launcher()
        everyone: list[asyncio.Future[Any]] = [self._ready, *self._births]
        for waiting in everyone:
            if not waiting.done():
                waiting.set_exception(ServerError("the server of verifiers has died"))
                waiting.exception()  # counts as seen, in case nobody waits

    def _end_launcher(self) -> None:
        """Wait for the launcher, which ends after the server and reaps it, unless somebody has stopped it too."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._launcher.wait(END_S if self._server else 0)
            return
        self._launcher.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._launcher.wait(END_S)

    def _send(self, data: bytes) -> None:
        try:
            self._control.send(data)
        except OSError as error:  # dead, or so long without reading that the buffer is full
            self.kill()
            raise ServerError(f"the server of verifiers does not read: {error}") from error

    def _read(self) -> None:
        try:
            data, descriptors, *_ = socket.recv_fds(self._control, MAX_MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        connection = socket.socket(fileno=descriptors[0]) if descriptors else None
        if not data:
            self.kill()
            return
        match messages.decode_message(data):
            case messages.Started(pid):
                self._server = _process(pid)
            case messages.Ready() as ready:
                _resolve(self._ready, ready)
            case messages.Failed(reason):
                waiting = self._births.popleft() if self._births else self._ready
                if not waiting.done():
                    waiting.set_exception(ServerError(reason))
            case messages.Born() if connection:
                self._receive_child(connection)

    def _receive_child(self, connection: socket.socket) -> None:
        birth = self._births.popleft()
        if birth.done():
            connection.close()  # nobody waits any more: the child sees it and ends
        else:
            birth.set_result(Child(connection))


class Child(asyncio.Protocol):
    """A child process and the private connection to it.

    A child that answers unasked, too long or with anything but a verdict is killed.

    Attributes:
        served: Responses that it has verified.
        ended: Why it came to its end, or None.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.served = 0
        self.ended: End | None = None
        self._process = _process(_pid_of_peer(connection))
        self._connection = connection
        self._received = bytearray()
        self._answer: asyncio.Future[bytes | End] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._watch = _Watch(self._process)

    async def is_locked_down(self) -> bool:
        """Wait for its first, empty message, which says that it is locked down."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=self._connection)
        return await self._answer == b""

    async def verify(self, task: bytes) -> VerifierResult | End:
        """Give it a task and wait for the verdict, or for its end."""
        if self.ended or self._transport is None:
            return self.ended or End.DIED
        self._answer = asyncio.get_running_loop().create_future()
        self._watch.start()
        self._transport.write(task)
        answer = await self._answer
        if isinstance(answer, End):
            return answer
        try:
            result = messages.decode_verdict(answer)
        except msgspec.DecodeError:  # includes ValidationError: a wrong type, or a score out of range
            self._end(End.MISBEHAVED)
            return End.MISBEHAVED
        self.served += 1
        return result

    def check(self, seconds: float, limit: float) -> None:
        """If it is at work, check its limits, this many seconds after the last check."""
        if not self.ended and not self._answer.done() and (end := self._watch.look(seconds, limit)):
            self._end(end)

    def kill(self) -> None:
        """Kill it."""
        self._end(End.DIED)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._received += data
        if self._answer.done():
            self._end(End.MISBEHAVED)
        if len(self._received) < HEADER.size:
            return
        (size,) = HEADER.unpack_from(self._received)
        missing = HEADER.size + size - len(self._received)
        if size > MAX_VERDICT or missing < 0:
            self._end(End.MISBEHAVED)
        elif missing == 0:
            answer = bytes(self._received[HEADER.size :])
            self._received.clear()
            _resolve(self._answer, answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Note that it has died, or closed its connection, which counts as much."""
        self._end(End.DIED)

    def _end(self, end: End) -> None:
        if self.ended:
            return
        self.ended = end
        _kill(self._process)
        if self._transport is not None:
            self._transport.abort()
        _resolve(self._answer, end)


class _Watch:
    """Compares what a child does with its limits, at every tick of the supervisor.

    It counts ticks instead of reading a clock: a pause of the whole machine is one tick.
    """

    def __init__(self, process: psutil.Process | None) -> None:
        self._process = process
        self.start()

    def start(self) -> None:
        """Begin with a new response."""
        self._cpu_at_start: float | None = None
        self._cpu_before = self._idle = self._waited = 0.0

    def look(self, seconds: float, limit: float) -> End | None:
        """Return why to kill the child now, None to let it go on."""
        if self._process is None:
            return None
        try:
            with self._process.oneshot():
                status, times = self._process.status(), self._process.cpu_times()
        except psutil.Error:
            return None  # it is gone, and its connection will say so
        if status in _STOPPED:
            return End.STOPPED
        cpu = times.user + times.system
        if self._cpu_at_start is None:
            self._cpu_at_start = self._cpu_before = cpu
        if cpu - self._cpu_at_start >= limit:
            return End.CPU_TIME
        self._waited += seconds
        if status != psutil.STATUS_RUNNING and cpu - self._cpu_before < seconds / 2:
            self._idle += seconds
        self._cpu_before = cpu
        return End.NO_PROGRESS if self._idle > IDLE_LIMITS * limit or self._waited > WALL_LIMITS * limit else None


def _pid_of_peer(connection: socket.socket) -> int:
    """Return the ID of the process that made the connection, as this process sees it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _process(pid: int | None) -> psutil.Process | None:
    """Return a process by its ID, in a form that psutil never confuses with a later process of the same ID."""
    try:
        return psutil.Process(pid) if pid else None
    except psutil.Error:
        return None


def _kill(process: psutil.Process | None) -> None:
    if process is not None:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _resolve(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)
