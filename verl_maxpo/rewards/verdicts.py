"""Stop a run that cannot learn: one whose first responses all end without a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: How many responses without a verdict, from the start of a run, are too many.
FIRST_RESPONSES = 64

#: What is looked at of what the reward manager reports.
COLUMNS = ("unscored", "data_source", "reason")


class NoVerdictError(RuntimeError):
    """No response of a run could be scored so far."""


class FirstVerdicts:
    """Watches the first responses of a run, until one has a verdict."""

    def __init__(self) -> None:
        self.done = False
        self._without = 0

    def see(self, scored: Mapping[str, Any]) -> None:
        """Look at what :meth:`.scoring.ResponseScorer.score` reports of a response.

        Raises:
            NoVerdictError: The first :data:`FIRST_RESPONSES` responses, and all since, ended without a verdict.
        """
        self.done = self.done or not scored["unscored"]
        if self.done:
            return
        self._without += 1
        if self._without >= FIRST_RESPONSES:
            raise NoVerdictError(
                f"the first {self._without} responses all ended without a verdict, so every reward is that of a "
                f"failure. The last is of the data source {scored['data_source']}: {scored['reason']}. See its route "
                "in reward.reward_kwargs.routes, and reward.reward_kwargs.timeout; `verl-maxpo check` tries every row"
            )
