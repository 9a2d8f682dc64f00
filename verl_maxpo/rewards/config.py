"""The options of the reward manager, under ``reward.reward_kwargs``.

``config/verifier.yaml`` declares the same names. Their meanings and defaults are documented only here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from omegaconf import OmegaConf

from verl_maxpo.messages import did_you_mean
from verl_maxpo.rewards.routing import Route, Router

#: Where the options are in verl's configuration.
OPTIONS_KEY = "reward.reward_kwargs"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Columns:
    """The columns of data files with the data source and the prompt: ``data.reward_fn_key``, ``data.prompt_key``."""

    source: str = "data_source"
    prompt: str = "prompt"


@dataclass(frozen=True)
class PoolLimits:
    """What the children may use.

    Attributes:
        workers: Child processes of each reward worker (verl starts ``reward.num_workers`` of those).
        timeout: Seconds of CPU time for one response, after which its child is killed and replaced. Idle time counts a
            fifth, and waiting for a core a sixtieth.
        memory_limit_mb: MiB of memory for a child, on top of its imports.
    """

    workers: Annotated[int, msgspec.Meta(ge=1)] = 2
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    memory_limit_mb: Annotated[int, msgspec.Meta(ge=64)] = 1024


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
    len: Annotated[int, msgspec.Meta(ge=0)] = 0
    penalty_factor: float = 1.0
    log: bool = False


@dataclass(frozen=True)
class VerifierConfig(PoolLimits):
    """The options of the reward manager ``verifier``: those of :class:`PoolLimits`, and these.

    Attributes:
        routes: Verifiers by pattern of data source, tried before :data:`.routing.DEFAULT_ROUTES`: a name, or a mapping
            with options, as in ``{"openai/gsm8k": {verifier: gsm8k, method: flexible}}``. The option ``judge``, again a
            name or mapping, is a second verifier, whose score is reported as ``judge``.
        default_verifier: The verifier (or mapping) of sources that no pattern matches; null makes such a source an
            error before training starts.
        max_response_chars: How many characters of a response a verifier sees: the last ones, where the answer is.
        score_range: The rewards of the scores 0 and 1, and linear in between.
        format_bonus: Added to the reward of a response that has the form the task asks for, right or wrong.
        unscored: What the trainer does with a response without a verdict (its verifier timed out, raised or died):
            ``zero`` keeps it in its group with the lower end of ``score_range``, so that hanging a verifier never pays;
            ``drop`` leaves it out, without advantage or gradient (``adv_estimator=maxpo`` only).
        data_sources: The data sources to expect. The plugin sets it from ``data.train_files`` and ``data.val_files``
            before the run starts; null lets the reward workers import the verifiers of all routes.
        max_resp_len: verl's name for the longest response, tokens; needed by ``overlong_buffer_cfg``.
        overlong_buffer_cfg: DAPO's punishment of long responses, see :class:`OverlongBuffer`.

    Raises:
        ValueError: Options contradict each other, or a route is unusable; the message names the key.
    """

    routes: Mapping[str, Any] = field(default_factory=dict)
    default_verifier: Any = None
    max_response_chars: Annotated[int, msgspec.Meta(ge=1)] = 32768
    score_range: tuple[float, float] = (0.0, 1.0)
    format_bonus: float = 0.0
    unscored: Literal["zero", "drop"] = "zero"
    data_sources: tuple[str, ...] | None = None
    max_resp_len: Annotated[int, msgspec.Meta(ge=1)] | None = None
    overlong_buffer_cfg: OverlongBuffer = OverlongBuffer()
    router: Router = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        low, high = self.score_range
        if not low < high:
            raise ValueError(
                f"{OPTIONS_KEY}.score_range must have the lower number first, got {list(self.score_range)}"
            )
        buffer, longest = self.overlong_buffer_cfg, self.max_resp_len
        if buffer.enable and (longest is None or not 0 < buffer.len <= longest):
            raise ValueError(
                f"{OPTIONS_KEY}.overlong_buffer_cfg.len must be between 1 and {OPTIONS_KEY}.max_resp_len={longest}, "
                f"got {buffer.len}"
            )
        routes = {key: Route.of(value, f"{OPTIONS_KEY}.routes[{key}]") for key, value in self.routes.items()}
        default = self.default_verifier
        route = None if default is None else Route.of(default, f"{OPTIONS_KEY}.default_verifier")
        object.__setattr__(self, "router", Router(routes, route))

    @classmethod
    def from_reward_kwargs(cls, node: Mapping[str, Any] | None) -> VerifierConfig:
        """Read verl's ``config.reward.reward_kwargs``, an OmegaConf node, any mapping, or None for the defaults.

        An option that is null has its default.

        Raises:
            ValueError: An option is unknown, of another type or out of its range; the message names its key.
        """
        return _read(cls, node, OPTIONS_KEY)


def _read(cls: type[_T], node: Any, key: str) -> _T:
    options = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else (node or {})
    if not isinstance(options, Mapping):
        raise ValueError(f"{key} must be a mapping of options, got {options!r}")
    types = get_type_hints(cls, include_extras=True)
    known = [option.name for option in fields(cls) if option.init]  # type: ignore[arg-type]
    values = {}
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"{key} has no option {name!r}{did_you_mean(str(name), known)}: it has {', '.join(known)}")
        if value is not None:
            is_options = types[name] is OverlongBuffer
            values[name] = (_read if is_options else _convert)(types[name], value, f"{key}.{name}")
    return cls(**values)


def _convert(kind: Any, value: Any, key: str) -> Any:
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"{key}: expected {' or '.join(get_args(kind))}, got {value!r}")
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        plain = _plain(error)
        raise ValueError(f"{key}: {plain}{': ' if ', got ' in plain else ', got '}{value!r}") from None
    numbers = converted if isinstance(converted, tuple) else (converted,)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise ValueError(f"{key}: expected finite numbers, got {value!r}")
    return converted


def _plain(error: msgspec.ValidationError) -> str:
    """Return msgspec's message in the words of YAML."""
    words = str(error).partition(" - at ")[0].replace("`", "").replace("object", "mapping").replace("array", "list")
    return words[0].lower() + words[1:]
