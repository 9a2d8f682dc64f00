"""Which verifier a data source gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from verl_maxpo.rewards.registry import find_verifier

#: Routes of the data sources that verl and ``verl-maxpo prepare`` know; a configuration's own come first.
DEFAULT_ROUTES: Mapping[str, str] = {
    "openai/gsm8k": "gsm8k",
    "lighteval/MATH": "math",
    "DigitalLearningGmbH/MATH-lighteval": "math",
    "HuggingFaceH4/MATH-500": "math",
    "math_dapo*": "math",
    "aime*": "math",
    "amc*": "math",
    "numina_*": "math",
    "countdown*": "countdown",
    "reasoning_gym/*": "reasoning_gym",
    "hiyouga/geometry3k": "math",
    "searchR1_*": "verl",
    "codecontests": "sandbox_fusion",
    "apps": "sandbox_fusion",
    "codeforces": "sandbox_fusion",
    "taco": "sandbox_fusion",
}

#: Code is run by a service, not by a verifier in a child process; see :mod:`.adapters.sandbox_fusion`.
SANDBOX_FUSION = "sandbox_fusion"


@dataclass(frozen=True)
class Route:
    """A verifier and its options.

    Attributes:
        verifier: Its name.
        options: What it is called with beside the response.
        keeps_state: Whether a response can change the verdict on the next, so that each gets a process of its own; None
            leaves it to the verifier to say.
    """

    verifier: str
    options: Mapping[str, Any] = field(default_factory=dict)
    keeps_state: bool | None = None

    @classmethod
    def of(cls, value: str | Mapping[str, Any], key: str) -> Route:
        """Read a route from the configuration: a verifier's name, or a mapping of ``verifier`` and its options.

        ``keeps_state`` may be among them, for any verifier.

        Raises:
            ValueError: It is neither, or no such verifier is installed.
        """
        options: Mapping[str, Any] = {"verifier": value} if isinstance(value, str) else value
        if not isinstance(options, Mapping) or not isinstance(options.get("verifier"), str):
            raise ValueError(f"{key} must be a verifier's name or a mapping such as {{verifier: gsm8k}}, got {value!r}")
        own = {name: option for name, option in options.items() if name not in ("verifier", "keeps_state")}
        keeps_state = options.get("keeps_state")
        if not isinstance(keeps_state, bool | None):
            raise ValueError(f"{key}.keeps_state must be true or false, got {keeps_state!r}")
        route = cls(options["verifier"], own, keeps_state)
        if route.verifier != SANDBOX_FUSION:
            try:
                find_verifier(route.verifier)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return route


class Router:
    """Finds the route of a data source: the first pattern (of :mod:`fnmatch`) that matches, else the default."""

    def __init__(self, routes: Mapping[str, Route], default: Route | None = None) -> None:
        known = {pattern: Route(verifier) for pattern, verifier in DEFAULT_ROUTES.items() if pattern not in routes}
        self._routes = {**routes, **known}
        self._default = default
        self.configured = [*routes.values(), *([default] if default else [])]

    def find(self, data_source: str) -> Route:
        """Return the route of a data source.

        Raises:
            ValueError: Nothing claims the source and there is no default.
        """
        for pattern, route in self._routes.items():
            if fnmatchcase(data_source, pattern):
                return route
        if self._default is None:
            raise ValueError(
                f"no verifier claims the data source {data_source!r}: add it to reward.reward_kwargs.routes, as in "
                f"+reward.reward_kwargs.routes='{{{data_source}: math}}', or set reward.reward_kwargs.default_verifier"
            )
        return self._default

    def in_child_processes(self, data_sources: Iterable[str] | None = None) -> list[Route]:
        """Return the different routes of the given data sources, or all there are, but for those of programs."""
        every = [*self._routes.values(), *([self._default] if self._default else [])]
        routes = every if data_sources is None else [self.find(source) for source in data_sources]
        return [route for i, route in enumerate(routes) if route.verifier != SANDBOX_FUSION and route not in routes[:i]]
