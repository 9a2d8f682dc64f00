"""Watch the verdicts of a run: log the share of each status, and stop a run that gets no verdicts."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import expect_parameters
from verl_maxpo.rewards.adapters import MANAGER_NAME
from verl_maxpo.rewards.result import WITHOUT_VERDICT, Status

logger = logging.getLogger(__name__)

#: How many responses without a verdict, from the start of a run, are too many.
FIRST_RESPONSES = 64

_COLUMNS = ("status", "data_source", "reason")


class NoVerdictError(RuntimeError):
    """No response of a run could be scored so far."""


class FirstVerdicts:
    """Watches the first responses of a run, until one has a verdict."""

    def __init__(self) -> None:
        self._done = False
        self._without = 0

    def see(self, reported: Mapping[str, Any]) -> None:
        """Look at the columns that :meth:`.scoring.ResponseScorer.score` reports for a response.

        Raises:
            NoVerdictError: The first :data:`FIRST_RESPONSES` responses, and all since, ended without a verdict.
        """
        self._done = self._done or reported["status"] not in WITHOUT_VERDICT
        if self._done:
            return
        self._without += 1
        if self._without >= FIRST_RESPONSES:
            raise NoVerdictError(
                f"the first {self._without} responses all ended without a verdict, so every reward is that of a "
                f"failure. The last is of the data source {reported['data_source']}: {reported['reason']}. See its "
                "route in reward.reward_kwargs.routes, and reward.reward_kwargs.timeout; `verl-maxpo check` tries "
                "every row"
            )


def status_shares(statuses: Iterable[Any]) -> dict[str, float]:
    """Return the share of each status; none where no response has one, as with another reward manager."""
    counts = Counter(status for status in statuses if status in list(Status))
    return {status.value: counts[status] / counts.total() for status in Status} if counts else {}


def watch_verdicts(module: ModuleType) -> None:
    """Have verl's V1 trainer log the share of each status, and stop if no response of a run gets a verdict.

    An error in a reward worker would not stop it: verl logs the session as failed and goes on.
    """
    try:
        expect_parameters(module, "PPOTrainer._compute_advantage", ["self", "batch", "metrics"])
        metrics = ["self", "data_sources", "sample_uids", "reward_extra_infos_dict", "sample_turns"]
        expect_parameters(module, "PPOTrainer._val_metrics_update", [*metrics, "expected_acc_counts"])
    except RuntimeError as error:
        logger.warning("%s. Until then no rewards/status is logged, and a run without any verdict goes on", error)
        return
    first = FirstVerdicts()

    @wrapt.patch_function_wrapper(module, "PPOTrainer._val_metrics_update")
    def val_metrics_update(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        arguments = inspect.signature(wrapped).bind(*args, **kwargs).arguments
        columns = arguments["reward_extra_infos_dict"]
        if not all(columns.get(name) for name in _COLUMNS):
            return wrapped(*args, **kwargs)
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in zip(*map(columns.get, _COLUMNS), strict=True)]
        _look(first, rows)
        of_source: dict[str, list[Any]] = {}
        for source, row in zip(arguments["data_sources"], rows, strict=True):
            of_source.setdefault(str(source), []).append(row["status"])
        shares = {source: status_shares(statuses) for source, statuses in of_source.items()}
        ours = {f"val-aux/{source}/status/{name}": share for source in shares for name, share in shares[source].items()}
        return ours | wrapped(*args, **kwargs)

    @wrapt.patch_function_wrapper(module, "PPOTrainer._compute_advantage")
    def compute_advantage(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        if instance.config.reward.reward_manager.name == MANAGER_NAME:
            arguments = inspect.signature(wrapped).bind(*args, **kwargs).arguments
            rows = _reported(arguments["batch"])
            _look(first, rows)
            shares = status_shares(row.get("status") for row in rows)
            arguments["metrics"].update({f"rewards/status/{name}": share for name, share in shares.items()})
        return wrapped(*args, **kwargs)


def _look(first: FirstVerdicts, reported: Iterable[Mapping[str, Any]]) -> None:
    for row in reported:
        if row.get("status") is not None:  # padding and failed sessions have none
            first.see(row)


def _reported(batch: Any) -> list[Mapping[str, Any]]:
    """Return what the reward manager reported for each agent session, whose rows all have it."""
    import transfer_queue

    fields = ["extra_fields"]
    data = transfer_queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
    # A list of them or a stack of tensordict's, by the backend of the queue
    rows = [getattr(row, "data", row) for row in list(data["extra_fields"])]
    sessions = {key.rpartition("_")[0]: row for key, row in zip(batch.keys, rows, strict=True)}
    return [row.get("reward_extra_info") or {} for row in sessions.values() if isinstance(row, Mapping)]
