"""From a response to a reward and what verl reports beside it: routes, pool and options put together."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.isolation.pool import Task, VerifierPool
from verl_maxpo.rewards.result import Status, VerifierResult
from verl_maxpo.rewards.routing import SANDBOX_FUSION, Route

logger = logging.getLogger(__name__)

#: How a verification ends that says nothing of the response.
WITHOUT_VERDICT = (Status.TIMEOUT, Status.CRASH)


class ProgramVerifier(Protocol):
    """Where responses that are programs run, such as :class:`.adapters.sandbox_fusion.SandboxFusion`."""

    async def verify(self, response: str, test_cases: Any) -> VerifierResult:
        """Run a program on its test cases."""


class ResponseScorer:
    """Scores responses as the configuration says, with one pool of child processes.

    Raises:
        ValueError: No verifier claims one of ``config.data_sources``, or it needs a sandbox service and there is none.
    """

    def __init__(self, config: VerifierConfig, sandbox: ProgramVerifier | None = None) -> None:
        self.config = config
        self._sandbox = sandbox
        for source in config.data_sources or ():
            self._sandbox_for(config.router.find(source), source)
        self._pool = VerifierPool(config.router.in_child_processes(config.data_sources), config)
        self._trouble: Counter[str] = Counter()

    async def verify(
        self, data_source: str, response: str, ground_truth: Any, extra_info: Mapping[str, Any]
    ) -> VerifierResult:
        """Return the verdict on a response; raises as :meth:`score`."""
        response = response[-self.config.max_response_chars :]
        route = self.config.router.find(data_source)
        if sandbox := self._sandbox_for(route, data_source):
            result = await sandbox.verify(response, ground_truth)
        else:
            known = {**extra_info, "data_source": data_source}
            result = await self._pool.verify(Task(route, response, ground_truth, known))
        self._report(data_source, result)
        return result

    async def score(
        self,
        data_source: str,
        response: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any],
        num_tokens: int | None = None,
    ) -> dict[str, Any]:
        """Return the reward of a response as ``score``, and what verl reports beside it.

        Args:
            data_source: The row's data source, which decides the verifier.
            response: What the model wrote.
            ground_truth: ``reward_model["ground_truth"]`` of the row.
            extra_info: ``extra_info`` of the row.
            num_tokens: The response's length, for the punishment of long ones; None where it is unknown.

        Returns:
            The same keys for every response: ``score``; ``raw_score``, that of the scorer behind the verifier; ``acc``,
            ``format_ok``, ``timed_out``, ``verifier_error`` (the verifier raised or died), ``unscored`` (one of these
            two: there is no verdict) and ``refused`` (the answer was refused as unsafe or too costly, or the verifier
            tried what a child may not do), each 0 or 1; ``reason``, why it is unscored or refused; ``pred``, by which
            maj@k votes; ``data_source``, which verl's dumps lack; and with ``overlong_buffer_cfg.log`` verl's
            ``overlong_reward`` and ``overlong``.

        Raises:
            ValueError: No verifier claims the data source.
            VerifierPoolError: The pool itself fails.
        """
        result = await self.verify(data_source, response, ground_truth, extra_info)
        penalty = self._overlong_reward(num_tokens)
        refused = result.status is Status.REFUSED or bool(result.refused)
        scored: dict[str, Any] = {
            "score": self._reward(result) + penalty,
            "raw_score": result.score if result.raw_score is None else result.raw_score,
            "acc": float(result.correct),
            "pred": result.answer or "",
            "data_source": data_source,
            "format_ok": float(result.format_ok),
            "timed_out": float(result.status is Status.TIMEOUT),
            "verifier_error": float(result.status is Status.CRASH),
            "unscored": float(result.status in WITHOUT_VERDICT),
            "refused": float(refused),
            "reason": reason(result) if refused or result.status in WITHOUT_VERDICT else "",
        }
        if self.config.overlong_buffer_cfg.enable and self.config.overlong_buffer_cfg.log:
            scored |= {"overlong_reward": penalty, "overlong": float(penalty < 0)}
        return scored

    def close(self) -> None:
        """Kill the child processes."""
        self._pool.close()

    def _reward(self, result: VerifierResult) -> float:
        if result.status in WITHOUT_VERDICT:
            return self.config.score_without_verdict(timed_out=result.status is Status.TIMEOUT)
        low, high = self.config.score_range
        return low + (high - low) * result.score + self.config.format_bonus * result.format_ok

    def _overlong_reward(self, num_tokens: int | None) -> float:
        buffer, longest = self.config.overlong_buffer_cfg, self.config.max_resp_len
        if not buffer.enable or longest is None or num_tokens is None:
            return 0.0
        excess = num_tokens - (longest - buffer.len)
        return min(-excess / buffer.len * buffer.penalty_factor, 0.0)

    def _sandbox_for(self, route: Route, data_source: str) -> ProgramVerifier | None:
        if route.verifier != SANDBOX_FUSION:
            return None
        if self._sandbox is None:
            raise ValueError(
                f"responses of the data source {data_source!r} are programs, which run in a sandbox service only: set "
                "reward.sandbox_fusion.url"
            )
        return self._sandbox

    def _report(self, data_source: str, result: VerifierResult) -> None:
        """Warn of responses that are unscored or refused, at the 1st, 10th, 100th, ... of a kind."""
        if result.status in WITHOUT_VERDICT:
            self._warn(f"without a verdict, status {result.status.value}", data_source, result)
        elif result.status is Status.REFUSED:
            self._warn("whose answer was refused as unsafe or too costly", data_source, result)
        elif result.refused:
            self._warn("whose verifier tried what it may not do (the verdict stands)", data_source, result)

    def _warn(self, kind: str, data_source: str, result: VerifierResult) -> None:
        self._trouble[kind] += 1
        count = self._trouble[kind]
        if count == 10 ** (len(str(count)) - 1):
            logger.warning("%d response(s) so far %s; the last is of %s: %s", count, kind, data_source, reason(result))


def reason(result: VerifierResult) -> str:
    """Return why a response is unscored or refused."""
    tried = f"refused: {', '.join(result.refused)}" if result.refused else ""
    return "; ".join(filter(None, [result.message, tried]))
