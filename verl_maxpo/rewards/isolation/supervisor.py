"""Gives each response to a child, and decides what becomes of it.

Each child has a slot, and each slot is an asyncio task. All of them run in one thread with its own event loop, so that
a pool serves callers from any event loop and keeps watching its children while the callers are busy.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from verl_maxpo.rewards.config import PoolLimits
from verl_maxpo.rewards.isolation.messages import LoadedRoute, Setup, Task, frame, pickled
from verl_maxpo.rewards.isolation.processes import Child, End, Server, ServerError
from verl_maxpo.rewards.result import Status, VerifierResult, reject
from verl_maxpo.rewards.routing import Route

logger = logging.getLogger(__name__)

#: A child is replaced after each response that may leave traces, and after this many in any case. With fewer, the
#: verifiers' caches of parsed answers would often be lost.
RESPONSES_PER_CHILD = 2000

#: Seconds without a new child after which waiting responses get an error.
PATIENCE_S = 60.0

#: How often a response is tried, by how its process ended.
ATTEMPTS = {End.CPU_TIME: 1, End.NO_PROGRESS: 2, End.MISBEHAVED: 2, End.DIED: 4, End.STOPPED: 4}

_TICKS_PER_LIMIT, _SHORTEST_TICK_S, _LONGEST_TICK_S = 8, 0.02, 0.5
_PAUSE_S = 0.1


class VerifierPoolError(RuntimeError):
    """The pool itself fails, again and again: no response can be scored, and none is scored 0 for it."""


class VerifierUnavailableError(RuntimeError):
    """A verifier cannot be loaded, so that no response can be scored with it."""


@dataclass(order=True)
class Job:
    """A response on its way.

    Attributes:
        number: Its place in the queue, which it keeps when it is tried again.
        task: What to do.
        future: Where the verdict goes.
        attempts: How many processes have ended while they verified it.
    """

    number: int
    task: Task = field(compare=False)
    future: concurrent.futures.Future[VerifierResult] = field(default_factory=concurrent.futures.Future, compare=False)
    attempts: int = field(default=0, compare=False)


class Supervisor:
    """Owns the server, the children and the responses that wait for one."""

    def __init__(self, routes: Sequence[Route], limits: PoolLimits) -> None:
        self._routes = tuple(routes)
        self._limits = limits
        self._tick = min(max(limits.timeout / _TICKS_PER_LIMIT, _SHORTEST_TICK_S), _LONGEST_TICK_S)
        self._queue: asyncio.PriorityQueue[Job] = asyncio.PriorityQueue()
        self._children: set[Child] = set()
        self._server: Server | None = None
        self._server_starts = asyncio.Lock()
        self._failing_since: float | None = None
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._open = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="supervisor of verifiers", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a response into the queue. Call it from any thread.

        Raises:
            VerifierPoolError: It is stopped.
        """
        with self._lock:
            if not self._open:
                raise VerifierPoolError("the pool of verifiers was closed")
            self._loop.call_soon_threadsafe(self._queue.put_nowait, job)

    def stop(self) -> None:
        """Kill the children and fail what waits. Call it from another thread."""
        with self._lock:
            if self._open:
                self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop) as loop:
            error = loop.run_until_complete(self._work())
            with self._lock:
                self._open = False
            loop.run_until_complete(asyncio.sleep(0))  # what was submitted until then is in the queue now
            self._fail_all(VerifierPoolError("the pool of verifiers was closed" + (f": {error!r}" if error else "")))

    async def _work(self) -> BaseException | None:
        """Run until stopped. Returns an error raised in here, which would be a bug, so that nothing waits forever."""
        parts = [self._stopped.wait(), self._watch(), *(self._slot() for _ in range(self._limits.workers))]
        tasks = [asyncio.ensure_future(part) for part in parts]
        done, unfinished = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while unfinished:  # asyncio.wait_for loses a cancellation that meets a result, before Python 3.12
            for task in unfinished:
                task.cancel()
            _, unfinished = await asyncio.wait(unfinished, timeout=_PAUSE_S)
        if self._server is not None:
            self._server.kill()
        return next((task.exception() for task in done), None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._tick)
            for child in self._children:
                child.check(self._tick, self._limits.timeout)
            if self._server is not None:
                self._server.check()

    async def _slot(self) -> None:
        """Verify one response after another, with one child after another."""
        child = await self._new_child()
        while True:
            job = await self._queue.get()
            if child.ended:  # killed while it had nothing to do
                self._queue.put_nowait(job)
            elif job.future.cancelled() or not self._is_available(job):
                continue
            else:
                await self._verify(job, child)
            if child.ended:
                self._children.discard(child)
                child = await self._new_child()

    async def _verify(self, job: Job, child: Child) -> None:
        """Have a child verify a response; afterwards, kill the child if it may not verify another."""
        try:
            task = frame(pickled(job.task))
        except Exception as error:
            _finish(job, error)
            return
        outcome = await child.verify(task)
        if isinstance(outcome, End):
            self._try_again(job, outcome)
            return
        _finish(job, outcome)
        traces = outcome.refused or outcome.status is Status.CRASH or self._loaded(job.task.route).keeps_state
        if traces or child.served >= RESPONSES_PER_CHILD:
            child.kill()

    def _try_again(self, job: Job, end: End) -> None:
        """Put a response whose child has ended back into the queue, or finish it after enough attempts."""
        job.attempts += 1
        if job.attempts < ATTEMPTS[end]:
            self._queue.put_nowait(job)
        elif end is End.CPU_TIME:
            _finish(job, reject(Status.TIMEOUT, f"stopped after {self._limits.timeout:g} s of CPU time"))
        elif end is End.NO_PROGRESS:
            _finish(job, reject(Status.TIMEOUT, "waited for something that did not come"))
        else:
            _finish(job, reject(Status.CRASH, f"the verifier's process {end.value}; it was tried {job.attempts} times"))

    def _is_available(self, job: Job) -> bool:
        """Return whether the verifier is there; finishes the job if it is not."""
        route = job.task.route
        if error := self._loaded(route).error:
            _finish(job, VerifierUnavailableError(f"the verifier {route.verifier!r} cannot be loaded: {error}"))
        return error is None

    def _loaded(self, route: Route) -> LoadedRoute:
        """Return what the server knows about a route; a child loads the verifier of an unknown route itself."""
        if self._server is None or route not in self._routes:
            return LoadedRoute(None, keeps_state=True)
        return self._server.routes[self._routes.index(route)]

    async def _new_child(self) -> Child:
        """Get a child, and keep trying; waiting responses get an error when that takes too long."""
        while True:
            try:
                child = await (await self._running_server()).fork()
            except ServerError as error:
                self._complain(error)
                await asyncio.sleep(_PAUSE_S)
            else:
                self._failing_since = None
                self._children.add(child)
                return child

    async def _running_server(self) -> Server:
        async with self._server_starts:
            if self._server is None or self._server.lost:
                cpu_limit = self._limits.timeout * RESPONSES_PER_CHILD
                self._server = await Server.start(Setup(self._routes, self._limits.memory_limit_mb, cpu_limit))
            return self._server

    def _complain(self, error: ServerError) -> None:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            logger.warning("no process for verifiers, trying again for %g s: %s", PATIENCE_S, error)
        if now - self._failing_since >= PATIENCE_S:
            self._fail_all(
                VerifierPoolError(
                    f"no process for verifiers in {now - self._failing_since:.0f} s, last because of: {error}. The "
                    "machine may be out of memory or processes"
                )
            )

    def _fail_all(self, error: VerifierPoolError) -> None:
        while not self._queue.empty():
            _finish(self._queue.get_nowait(), error)


def _finish(job: Job, outcome: VerifierResult | Exception) -> None:
    """Give a response its verdict, unless nobody wants it any more."""
    if not job.future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        job.future.set_exception(outcome)
    else:
        job.future.set_result(outcome)
