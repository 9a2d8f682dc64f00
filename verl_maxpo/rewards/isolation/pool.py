"""Verify responses in child processes that can be killed."""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from collections.abc import Sequence

from verl_maxpo.rewards.config import PoolLimits
from verl_maxpo.rewards.isolation.messages import Layer, Setup, Task
from verl_maxpo.rewards.isolation.processes import Server
from verl_maxpo.rewards.isolation.supervisor import Job, Supervisor, VerifierPoolError, VerifierUnavailableError
from verl_maxpo.rewards.result import VerifierResult
from verl_maxpo.rewards.routing import Route

__all__ = ["Task", "VerifierPool", "VerifierPoolError", "VerifierUnavailableError", "probe_layers"]


class VerifierPool:
    """A pool of locked-down children; its processes start with the first response.

    Safe to use from any event loop and thread. A response whose process dies or is stopped is verified again; only
    after :data:`.supervisor.ATTEMPTS` is its status ``timeout`` or ``crash``.

    Args:
        routes: The verifiers, and their options, to load before the children are locked down.
        limits: What the children may use.
    """

    def __init__(self, routes: Sequence[Route], limits: PoolLimits) -> None:
        self._routes = tuple(routes)
        self._limits = limits
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._stop: weakref.finalize[[], VerifierPool] | None = None
        self._supervisor: Supervisor | None = None

    async def verify(self, task: Task) -> VerifierResult:
        """Verify one response; waits, without blocking the event loop, while the pool is busy.

        Raises:
            VerifierUnavailableError: The verifier cannot be loaded.
            VerifierPoolError: No process could be started for a long time, or the pool was closed meanwhile.
        """
        job = Job(next(self._numbers), task)
        self._running().submit(job)
        return await asyncio.wrap_future(job.future)

    def close(self) -> None:
        """Kill the children. The pool starts anew with the next response."""
        with self._lock:
            self._supervisor = None
            if self._stop is not None:
                self._stop()

    def _running(self) -> Supervisor:
        with self._lock:
            if self._supervisor is None:
                self._supervisor = Supervisor(self._routes, self._limits)
                self._stop = weakref.finalize(self, self._supervisor.stop)  # also when the interpreter exits
            return self._supervisor


def probe_layers() -> list[Layer]:
    """Lock a process down, and return the layers, in place or missing here.

    Raises:
        ServerError: No process could be locked down.
    """

    async def probe() -> list[Layer]:
        server = await Server.start(Setup((), PoolLimits().memory_limit_mb, PoolLimits().timeout))
        try:
            (await server.fork()).kill()
            return server.layers
        finally:
            server.kill()

    return asyncio.run(probe())
