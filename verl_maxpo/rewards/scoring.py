"""From a response to a reward and what verl reports beside it: routes, pool and options put together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from verl_maxpo.rewards.config import VerifierConfig
from verl_maxpo.rewards.isolation.pool import Task, VerifierPool
from verl_maxpo.rewards.result import WITHOUT_VERDICT, Status, VerifierResult, reject
from verl_maxpo.rewards.routing import Route

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What became of a response.

    Attributes:
        reward: The reward.
        columns: What verl reports beside it, the same columns for every response: ``acc``, 0 or 1; ``status``, one of
            :class:`.result.Status`; ``reason``, why it is not ``ok``, or what the verifier tried but may not do;
            ``answer``, empty where there is none; ``data_source``, which verl's dumps lack; and with
            ``overlong_buffer_cfg.log`` verl's ``overlong_reward`` and ``overlong``. Texts cost nothing in validation;
            verl bootstraps numbers.
        values: Further columns, the same for all responses to a data source, see :class:`.result.VerifierResult`.
        seconds: How long its verifier took.
    """

    reward: float
    columns: Mapping[str, Any]
    values: Mapping[str, Any]
    seconds: float = 0.0


class _Runner(Protocol):
    """Runs verifiers: the pool of child processes, or :class:`.adapters.sandbox_fusion.SandboxFusion`."""

    async def verify(self, task: Task) -> VerifierResult:
        """Return the verdict on a response."""


class ResponseScorer:
    """Scores responses as the configuration says, with one pool of child processes.

    Raises:
        ValueError: No verifier claims one of ``config.data_sources``, or it needs a sandbox service and there is none.
    """

    def __init__(self, config: VerifierConfig, sandbox: _Runner | None = None) -> None:
        self.config = config
        self._sandbox = sandbox
        self._pool = VerifierPool(config.router.in_child_processes(config.data_sources), config)
        self._trouble: Counter[str] = Counter()
        self._values: dict[str, frozenset[str]] = {}
        for source in config.data_sources or ():
            self._runner(self.route(source), source)

    def check_options(self) -> None:
        """Check the options of each route that the data needs; ValueError for those that its verifier does not take."""
        for route in self.config.router.in_child_processes(self.config.data_sources):
            route.check_options()

    def route(self, data_source: str) -> Route:
        """Return the route of a data source; ValueError if no verifier claims it."""
        return self.config.router.find(data_source)

    async def verify(
        self, data_source: str, response: str, ground_truth: Any, extra_info: Mapping[str, Any]
    ) -> VerifierResult:
        """Return the verdict on a response, with its judge's; raises as :meth:`score`."""
        route = self.route(data_source)
        response = response[-self.config.max_response_chars :]
        task = Task(route, response, ground_truth, with_source(extra_info, data_source))
        verdicts = [self._runner(route, data_source).verify(task)]
        if route.judge:
            verdicts.append(self._pool.verify(task._replace(route=route.judge)))
        result, *judged = await asyncio.gather(*verdicts)
        for verdict in judged:
            result = _with_judge(result, verdict)
            if verdict.status in WITHOUT_VERDICT:
                self._warn("without a verdict of their judge", data_source, verdict)
        result = self._with_known_values(data_source, result)
        self._report(data_source, result)
        return result

    async def score(
        self,
        data_source: str,
        response: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any],
        num_tokens: int | None = None,
    ) -> Scored:
        """Return the reward of a response, and what verl reports beside it.

        Args:
            data_source: The row's data source, which decides the verifier.
            response: What the model wrote.
            ground_truth: ``reward_model["ground_truth"]`` of the row.
            extra_info: ``extra_info`` of the row.
            num_tokens: The response's length, for the punishment of long ones; None where it is unknown.

        Raises:
            ValueError: No verifier claims the data source.
            VerifierPoolError: The pool itself fails.
        """
        result = await self.verify(data_source, response, ground_truth, extra_info)
        penalty = self._overlong_reward(num_tokens)
        columns: dict[str, Any] = {
            "acc": float(result.correct),
            "status": result.status.value,
            "reason": reason(result),
            "answer": result.answer or "",
            "data_source": data_source,
        }
        if self.config.overlong_buffer_cfg.enable and self.config.overlong_buffer_cfg.log:
            columns |= {"overlong_reward": penalty, "overlong": float(penalty < 0)}
        return Scored(self._reward(result) + penalty, columns, result.values, result.seconds)

    def close(self) -> None:
        """Kill the child processes."""
        self._pool.close()

    def _reward(self, result: VerifierResult) -> float:
        low, high = self.config.score_range
        if result.status in WITHOUT_VERDICT:
            return low
        return low + (high - low) * result.score + self.config.format_bonus * result.format_ok

    def _overlong_reward(self, num_tokens: int | None) -> float:
        buffer, longest = self.config.overlong_buffer_cfg, self.config.max_resp_len
        if not buffer.enable or longest is None or num_tokens is None:
            return 0.0
        excess = num_tokens - (longest - buffer.len)
        return min(-excess / buffer.len * buffer.penalty_factor, 0.0)

    def _runner(self, route: Route, data_source: str) -> _Runner:
        runner = self._pool if route.in_child else self._sandbox
        if runner is None:
            raise ValueError(
                f"responses of the data source {data_source!r} are programs, which run in a sandbox service only: set "
                "reward.sandbox_fusion.url"
            )
        return runner

    def _with_known_values(self, data_source: str, result: VerifierResult) -> VerifierResult:
        """Give a response without a verdict the empty values of its source, and refuse values with other names."""
        if result.status not in WITHOUT_VERDICT:
            known = self._values.setdefault(data_source, frozenset(result.values))
            if known == result.values.keys():
                return result
            names, before = (", ".join(sorted(values)) or "none" for values in (result.values, known))
            message = f"all verdicts on a data source must have the same values, got {names}, and before that {before}"
            result = reject(Status.CRASH, message)
        return replace(result, values=dict.fromkeys(self._values.get(data_source, ())))

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


def _with_judge(result: VerifierResult, verdict: VerifierResult) -> VerifierResult:
    if verdict.status not in WITHOUT_VERDICT:
        return replace(result, values={**result.values, "judge": verdict.score})
    why = f"no verdict of the judge: {verdict.status.value}, {verdict.message}"
    message = f"{result.message}; {why}" if result.message else why
    return replace(result, values={**result.values, "judge": None}, message=message)


def with_source(extra_info: Mapping[str, Any], data_source: str) -> dict[str, Any]:
    """Return the ``extra_info`` that a verifier gets: the row's, with its data source."""
    return {**extra_info, "data_source": data_source}


def reason(result: VerifierResult) -> str:
    """Return why a status is not ``ok``, and what the verifier tried but may not do."""
    tried = f"the verifier tried what it may not do: {', '.join(result.refused)}" if result.refused else ""
    return "; ".join(filter(None, [result.message, tried]))
