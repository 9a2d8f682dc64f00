"""Responses that are programs: a Sandbox Fusion service runs them, never this host.

verl's settings are used: ``reward.sandbox_fusion.url``, ``max_concurrent`` and ``memory_limit_mb``.
See https://github.com/bytedance/SandboxFusion and ``verl/utils/reward_score/sandbox_fusion``.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from verl_maxpo.rewards.isolation.messages import Task
from verl_maxpo.rewards.result import Status, VerifierResult, accept, reject

#: Statuses of a test case that say nothing about the program.
_NO_VERDICT = ("api_error", "sandbox_error", "internal_error")


@dataclass(frozen=True)
class SandboxFusion:
    """A client of the service, by way of verl's own client.

    Attributes:
        url: The URL of the service's ``run_code``.
        max_concurrent: Requests in flight from this reward worker; a test case is a request.
        memory_limit_mb: MiB for a program, enforced by the service.
    """

    url: str
    max_concurrent: int = 64
    memory_limit_mb: int = 1024

    @classmethod
    def of(cls, node: Mapping[str, Any] | None) -> SandboxFusion | None:
        """Read verl's ``config.reward.sandbox_fusion``; None if it names no service."""
        if not node or not node.get("url"):
            return None
        return cls(node["url"], node.get("max_concurrent") or 64, node.get("memory_limit_mb") or 1024)

    @functools.cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.max_concurrent, thread_name_prefix="sandbox_fusion")

    @functools.cached_property
    def _requests(self) -> threading.Semaphore:
        return threading.Semaphore(self.max_concurrent)

    async def verify(self, task: Task) -> VerifierResult:
        """Run the program in a response, its last ``python`` block, on the ``inputs`` and ``outputs`` of its row.

        The score is the fraction of the first ten cases that pass; correct if all of those do. A service that does not
        answer gives the status ``crash``, not a wrong answer.
        """
        if "```" not in task.response:
            return reject(Status.NO_ANSWER, "no code block")
        run = asyncio.get_running_loop().run_in_executor(self._threads, self._run, task.response, task.ground_truth)
        score, cases = await run
        failures = [case for case in cases if case.get("error") or case.get("status") in _NO_VERDICT]
        if failures:
            return reject(Status.CRASH, f"Sandbox Fusion at {self.url}: {failures[0]}", format_ok=True)
        return accept("", correct=score == 1.0, score=score)

    def _run(self, response: str, test_cases: Any) -> tuple[float, list[dict[str, Any]]]:
        from verl.utils.reward_score import sandbox_fusion

        score, cases = sandbox_fusion.compute_score(
            self.url, self._requests, self.memory_limit_mb, response, test_cases, continuous=True
        )
        return float(score), [case for case in cases if case]
