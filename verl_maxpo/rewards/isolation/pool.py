"""Verify responses in child processes that can be killed: a `pebble <https://pebble.readthedocs.io>`_ pool.

The children are forked from a server process that has imported the verifiers and the reward worker's main module once,
so that they share none of its open files, connections or memory, and so that replacing one takes milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool

from pebble import ProcessExpired, ProcessPool

from verl_maxpo.rewards.config import PoolLimits
from verl_maxpo.rewards.isolation import child
from verl_maxpo.rewards.isolation.child import Task
from verl_maxpo.rewards.registry import find_verifier
from verl_maxpo.rewards.result import Status, VerifierResult, reject
from verl_maxpo.rewards.routing import Route

logger = logging.getLogger(__name__)

#: A child is replaced after so many responses, so that no leak in a parser adds up.
TASKS_PER_CHILD = 2000

#: Tasks handed to pebble at a time, for each child: enough that none waits, few enough that a lost pool costs little.
TASKS_IN_FLIGHT = 4

#: Seconds beyond the time limits of the tasks ahead after which a pool counts as stuck and is replaced: one that has
#: still to import the verifiers, and one that has given results.
START_GRACE_S, GRACE_S = 120.0, 10.0

_ATTEMPTS = 5


class VerifierPoolError(RuntimeError):
    """The pool itself fails, again and again: no response can be scored, and none is scored 0 for it."""


class VerifierPool:
    """A pool of locked-down children, and at most :data:`TASKS_IN_FLIGHT` tasks for each at a time.

    A child that dies (out of memory, a signal, someone else's ``kill``) costs its task another attempt; the second
    death of the same task is its own doing and gives the status ``crash``. A pool that dies or is stuck is replaced,
    and its tasks are run again.

    Args:
        routes: The verifiers, and their options, to load before the children are locked down.
        limits: What the children may use.
    """

    def __init__(self, routes: Sequence[Route], limits: PoolLimits) -> None:
        self._routes = tuple(routes)
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.workers * TASKS_IN_FLIGHT)
        self._lock = threading.Lock()
        self._context = multiprocessing.get_context("forkserver")
        modules = [find_verifier(name).module for name in {route.verifier for route in routes}]
        # "__main__", which every child would import otherwise, is imported by the server once.
        self._context.set_forkserver_preload(["__main__", child.__name__, *modules])
        self._pool: ProcessPool | None = None
        self._started = False
        self._unfinished: set[Future[VerifierResult]] = set()

    async def verify(self, task: Task) -> VerifierResult:
        """Verify one response; waits, without blocking the event loop, while the pool is busy.

        Raises:
            VerifierUnavailableError: The verifier cannot be loaded.
            VerifierPoolError: The pool failed several times in a row.
        """
        async with self._slots:
            deaths = 0
            for _ in range(_ATTEMPTS):
                pool = self._running_pool()
                outcome = await self._attempt(pool, task)
                if isinstance(outcome, VerifierResult):
                    return outcome
                if isinstance(outcome, ProcessExpired):
                    deaths += 1
                    if deaths > 1:
                        return _result_of_death(outcome)
                else:
                    await asyncio.to_thread(self._discard, pool, outcome)
        raise VerifierPoolError(
            f"the pool of verifiers failed {_ATTEMPTS} times in a row, last with {outcome!r}: the machine may be out "
            "of memory or processes, or a verifier fails to load "
            "(`verl-maxpo check DATA` shows more)"
        )

    def close(self) -> None:
        """Kill the children."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            self._stop(pool)

    async def _attempt(self, pool: ProcessPool, task: Task) -> VerifierResult | Exception:
        limit = self._limits.timeout
        try:
            future: Future[VerifierResult] = pool.schedule(child.run, args=(task, limit), timeout=limit)
        except RuntimeError as error:  # stopped or broken meanwhile
            return error
        self._unfinished.add(future)
        waiting = asyncio.wrap_future(future)
        grace = GRACE_S if self._started else START_GRACE_S
        await asyncio.wait([waiting], timeout=limit * (TASKS_IN_FLIGHT + 1) + grace)
        self._unfinished.discard(future)
        if not waiting.done():
            return BrokenProcessPool("no result, nor a time-out, in time")
        self._started = True
        failure = waiting.exception()
        if isinstance(failure, TimeoutError):
            return reject(Status.TIMEOUT, f"stopped after {limit:g} s")
        if isinstance(failure, (ProcessExpired, BrokenProcessPool)):
            return failure
        return waiting.result()

    def _running_pool(self) -> ProcessPool:
        with self._lock:
            if self._pool is None or not self._pool.active:
                self._pool = ProcessPool(
                    max_workers=self._limits.workers,
                    max_tasks=TASKS_PER_CHILD,
                    initializer=child.initialize,
                    initargs=(self._routes, self._limits.memory_limit_mb),
                    context=self._context,
                )
            return self._pool

    def _discard(self, pool: ProcessPool, reason: Exception) -> None:
        with self._lock:
            if self._pool is not pool:  # another task saw it first
                return
            self._pool = None
            self._started = False
        logger.warning("replacing the pool of verifiers, whose tasks are run again: %r", reason)
        self._stop(pool)

    def _stop(self, pool: ProcessPool) -> None:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()
        for future in [future for future in self._unfinished if not future.done()]:  # pebble leaves them waiting
            future.set_exception(BrokenProcessPool("replaced"))


def _result_of_death(error: ProcessExpired) -> VerifierResult:
    if error.exitcode == -signal.SIGXCPU:
        return reject(Status.TIMEOUT, "stopped at the limit of CPU time")
    return reject(Status.CRASH, f"the verifier's process died twice on this response, exit code {error.exitcode}")
