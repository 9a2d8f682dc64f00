"""The options of the reward manager, under ``reward.reward_kwargs``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_maxpo.rewards.routing import Route, Router

MANAGER_NAME = "verifier"
KEY = "reward.reward_kwargs"


@dataclass(frozen=True)
class PoolLimits:
    """What the children may use.

    Attributes:
        workers: Child processes.
        timeout: Seconds of CPU time for one response, after which its child is killed and replaced. Time in which it
            does nothing counts a fifth, time in which it waits for a core a sixtieth.
        memory_limit_mb: MiB of memory for a child on top of its imports.
    """

    workers: int = 2
    timeout: float = 2.0
    memory_limit_mb: int = 1024


@dataclass(frozen=True)
class OverlongBuffer:
    """DAPO's soft punishment of long responses, with verl's option names.

    The last ``len`` tokens below ``max_resp_len`` cost up to ``penalty_factor``, linearly ("DAPO", arXiv:2503.14476,
    equation 13).

    Attributes:
        enable: Whether to punish.
        len: Tokens of the buffer.
        penalty_factor: Subtracted from the reward of a response of full length.
        log: Whether to report ``overlong_reward`` and ``overlong`` with every sample.
    """

    enable: bool = False
    len: int = 0
    penalty_factor: float = 1.0
    log: bool = False


@dataclass(frozen=True)
class VerifierConfig:
    """The options of the reward manager ``verifier``.

    Attributes:
        routes: Verifiers by pattern of data source, before those of :data:`.routing.DEFAULT_ROUTES`; a name, or a
            mapping with the verifier's options: ``{"openai/gsm8k": {verifier: gsm8k, method: flexible}}``.
        default_verifier: The verifier (or mapping) of a source that no pattern claims; null makes such a source an
            error before training starts.
        workers: Child processes of each reward worker (verl starts ``reward.num_workers`` of those).
        timeout: Seconds of CPU time for one response, after which its child is killed and replaced. Time in which it
            does nothing counts a fifth, time in which it waits for a core a sixtieth.
        memory_limit_mb: MiB of memory for a child on top of its imports.
        max_response_chars: A verifier sees the last so many characters of a response, where the answer is.
        score_range: The rewards of the scores 0 and 1; those between are mapped linearly.
        format_bonus: Added to the reward of a response that has the form the task asks for, right or wrong.
        timeout_score: The reward of a response whose verification was stopped at the time limit.
        crash_score: The reward of a response whose verifier raised or died.
        data_sources: The data sources to expect. The plugin sets it from ``data.train_files`` and ``data.val_files``
            before verl starts its reward workers; null lets them import the verifiers of all routes.
        max_resp_len: verl's name for the longest response, tokens; needed by ``overlong_buffer_cfg``.
        overlong_buffer_cfg: DAPO's punishment of long responses, see :class:`OverlongBuffer`.

    Raises:
        ValueError: An option has a value out of its range; the message names it.
    """

    routes: Mapping[str, Any] = field(default_factory=dict)
    default_verifier: str | Mapping[str, Any] | None = None
    workers: int = 2
    timeout: float = 2.0
    memory_limit_mb: int = 1024
    max_response_chars: int = 32768
    score_range: tuple[float, float] = (0.0, 1.0)
    format_bonus: float = 0.0
    timeout_score: float = 0.0
    crash_score: float = 0.0
    data_sources: tuple[str, ...] | None = None
    max_resp_len: int | None = None
    overlong_buffer_cfg: OverlongBuffer = OverlongBuffer()

    def __post_init__(self) -> None:
        self._check("workers", self.workers >= 1, "at least 1")
        self._check("timeout", 0 < self.timeout < math.inf, "a positive number of seconds")
        self._check("memory_limit_mb", self.memory_limit_mb >= 64, "at least 64 MiB")
        self._check("max_response_chars", self.max_response_chars >= 1, "at least 1")
        low, high = self.score_range if len(self.score_range) == 2 else (math.nan, math.nan)
        self._check("score_range", -math.inf < low < high < math.inf, "two finite numbers, the lower first")
        for name in ("format_bonus", "timeout_score", "crash_score"):
            self._check(name, math.isfinite(getattr(self, name)), "a finite number")
        buffer, longest = self.overlong_buffer_cfg, self.max_resp_len
        if buffer.enable:
            fits = longest is not None and 0 < buffer.len <= longest
            self._check("overlong_buffer_cfg", fits, "of a len between 1 and reward.reward_kwargs.max_resp_len")
        self.router  # noqa: B018

    def _check(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ValueError(f"{KEY}.{name} must be {expected}, got {getattr(self, name)!r}")

    @cached_property
    def router(self) -> Router:
        """The routes, read."""
        routes = {str(pattern): Route.of(value, f"{KEY}.routes[{pattern}]") for pattern, value in self.routes.items()}
        default = self.default_verifier
        return Router(routes, None if default is None else Route.of(default, f"{KEY}.default_verifier"))

    @property
    def limits(self) -> PoolLimits:
        """The options that the pool has."""
        return PoolLimits(self.workers, self.timeout, self.memory_limit_mb)

    @classmethod
    def of(cls, node: Mapping[str, Any] | None) -> VerifierConfig:
        """Read verl's ``config.reward.reward_kwargs``, an OmegaConf node, any mapping, or None for the defaults.

        Raises:
            ValueError: An option is unknown or has a value out of its range.
        """
        options: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node or {})
        _check_names(cls, options, KEY)
        for name in ("score_range", "data_sources"):
            if options.get(name) is not None:
                options[name] = tuple(options[name])
        buffer = options.pop("overlong_buffer_cfg", None)
        if buffer is not None:
            _check_names(OverlongBuffer, buffer, f"{KEY}.overlong_buffer_cfg")
            options["overlong_buffer_cfg"] = OverlongBuffer(**buffer)
        return cls(**{name: value for name, value in options.items() if value is not None})


def _check_names(cls: type, options: Mapping[str, Any], key: str) -> None:
    known = [option.name for option in fields(cls)]
    unknown = sorted(set(map(str, options)) - set(known))
    if unknown:
        raise ValueError(f"{key} has no option {', '.join(unknown)}; its options are {', '.join(known)}")
