"""A user's ``reward.custom_reward_function``, called as verl's own reward managers call it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any

from verl.trainer.ppo.reward import get_custom_reward_fn

from verl_maxpo.rewards.result import Status
from verl_maxpo.rewards.routing import Route
from verl_maxpo.rewards.scoring import Scored
from verl_maxpo.rewards.verifiers.scores import usable_reward


class UsersFunction:
    """Scores responses in this process, as ``naive`` does: without a time limit or a lock-down.

    Raises:
        ValueError: verl cannot load the function.
    """

    def __init__(self, config: Any) -> None:
        self._path: str = config.reward.custom_reward_function.path
        try:
            self._function = get_custom_reward_fn(config)
        except Exception as error:
            raise ValueError(f"reward.custom_reward_function: {error}") from error

    def route(self, data_source: str) -> Route:
        """Return a route to the file, which may have examples of right and wrong responses."""
        return Route("python_function", {"path": self._path})

    async def score(self, data_source: str, response: str, ground_truth: Any, extra_info: Mapping[str, Any]) -> Scored:
        """Return the reward, or the status ``crash`` if the function fails or verl could not use what it returns."""
        known = {**extra_info, "num_turns": None, "rollout_reward_scores": {}}
        row = {"data_source": data_source, "ground_truth": ground_truth, "extra_info": known}
        start = time.perf_counter()
        try:
            outcome = self._function(solution_str=response, **row)
            outcome = await outcome if inspect.isawaitable(outcome) else outcome
            reward = usable_reward(outcome)
            acc = float(outcome.get("acc", reward) if isinstance(outcome, dict) else reward)
            status, reason = Status.OK, ""
        except Exception as error:
            reward = acc = 0.0
            status, reason = Status.CRASH, f"{type(error).__name__}: {error}"
        columns = {"acc": acc, "status": status.value, "reason": reason}
        return Scored(reward, columns, {}, time.perf_counter() - start)

    def close(self) -> None:
        """Do nothing: there are no processes."""
