"""Which verifier a data source gets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from verl_maxpo.messages import did_you_mean, override
from verl_maxpo.rewards.registry import find_verifier, load_verifier, verifier_module

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

#: The verifier of programs: a service runs them, not a child process; see :mod:`.adapters.sandbox_fusion`.
SANDBOX_FUSION = "sandbox_fusion"

_NOT_OPTIONS = ("verifier", "keeps_state", "judge")


@dataclass(frozen=True)
class Route:
    """A verifier and its options.

    Attributes:
        verifier: Its name.
        options: What it is called with beside the response.
        keeps_state: Whether one response can change the verdict on the next, so that each needs its own process; None
            asks the verifier.
        judge: A second verifier, whose score is reported as ``judge`` and does not change the reward.
    """

    verifier: str
    options: Mapping[str, Any] = field(default_factory=dict)
    keeps_state: bool | None = None
    judge: Route | None = None

    @property
    def in_child(self) -> bool:
        """Whether a child process runs it."""
        return self.verifier != SANDBOX_FUSION

    def check_options(self) -> None:
        """Bind the options to the signature of the verifier.

        Raises:
            ValueError: The verifier cannot be imported, or does not take them.
        """
        try:
            signature = inspect.signature(load_verifier(self.verifier))
        except ImportError as error:
            raise ValueError(
                f"the verifier {self.verifier!r} cannot be imported: {error}. For verl-maxpo's own verifiers: "
                "pip install 'verl-maxpo[rewards]'"
            ) from None
        try:
            signature.bind("", "", {}, **self.options)
        except TypeError as error:
            known = [name for name, option in signature.parameters.items() if option.kind is option.KEYWORD_ONLY]
            near = "".join(did_you_mean(name, known) for name in self.options if name not in known)
            raise ValueError(
                f"reward.reward_kwargs.routes: the verifier {self.verifier!r} does not take {dict(self.options)}: "
                f"{error}{near}; its options are {', '.join(known) or 'none'}"
            ) from None

    def examples(self, ground_truth: Any, extra_info: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
        """Return a right and a wrong response to a row, as the verifier's module makes them, None where it cannot.

        Raises:
            Exception: Whatever it raises for an unusable row.
        """
        if not self.in_child:
            return None, None
        make = getattr(verifier_module(self.verifier), "examples", None)
        pair: tuple[str | None, str | None] | None = make and make(ground_truth, extra_info, **self.options)
        return pair

    def doubt(self, ground_truth: Any) -> str:
        """Return why ordinary responses will hardly match a gold answer, if the verifier's module can say."""
        odd = getattr(verifier_module(self.verifier), "doubt", None) if self.in_child else None
        return str(odd(ground_truth)) if odd else ""

    @classmethod
    def of(cls, value: str | Mapping[str, Any], key: str) -> Route:
        """Read a route from the configuration: a verifier's name, or a mapping of ``verifier`` and its options.

        ``keeps_state`` and ``judge``, a route as well, may be among them, for any verifier.

        Raises:
            ValueError: It is neither, or no such verifier is installed.
        """
        options: Mapping[str, Any] = {"verifier": value} if isinstance(value, str) else value
        if not isinstance(options, Mapping) or not isinstance(options.get("verifier"), str):
            raise ValueError(f"{key} must be a verifier's name or a mapping such as {{verifier: gsm8k}}, got {value!r}")
        keeps_state = options.get("keeps_state")
        if not isinstance(keeps_state, bool | None):
            raise ValueError(f"{key}.keeps_state must be true or false, got {keeps_state!r}")
        judge = None if options.get("judge") is None else cls.of(options["judge"], f"{key}.judge")
        if judge and (judge.judge or not judge.in_child):
            raise ValueError(f"{key}.judge must be a verifier that runs in a child process and has no judge itself")
        own = {name: option for name, option in options.items() if name not in _NOT_OPTIONS}
        route = cls(options["verifier"], own, keeps_state, judge)
        try:
            if route.in_child:
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

    def find(self, data_source: str) -> Route:
        """Return the route of a data source.

        Raises:
            ValueError: Nothing claims the source and there is no default.
        """
        for pattern, route in self._routes.items():
            if fnmatchcase(data_source, pattern):
                return route
        if self._default is None:
            raise ValueError(f"no verifier claims the data source {data_source!r}: set {_advice(data_source)}")
        return self._default

    def in_child_processes(self, data_sources: Iterable[str] | None = None) -> list[Route]:
        """Return the distinct routes, judges included, of the given data sources, or of all."""
        every = [*self._routes.values(), *([self._default] if self._default else [])]
        routes = every if data_sources is None else [self.find(source) for source in data_sources]
        found = [part for route in routes for part in (route, route.judge) if part is not None and part.in_child]
        return [route for i, route in enumerate(found) if route not in found[:i]]


def _advice(data_source: str) -> str:
    """Return the options that give a data source a verifier; Hydra does not read every name as a key."""
    default = override("reward.reward_kwargs.default_verifier", "math")
    if not re.fullmatch(r"[\w./*-]+", data_source, re.ASCII):
        return default
    return f"{override('reward.reward_kwargs.routes', f'{{{data_source}: math}}')} or {default}"
