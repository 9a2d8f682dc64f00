"""Messages between the reward worker, the server and the children.

Messages towards the children are pickled. Whatever comes back is untrusted and never unpickled: it is MessagePack with
fixed fields and bounded size, checked against the types below.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec

from verl_maxpo.rewards.result import VerifierResult
from verl_maxpo.rewards.routing import Route

#: Bytes of a verdict, and of a message of the server.
MAX_VERDICT, MAX_MESSAGE = 1 << 16, 1 << 17

HEADER = struct.Struct("!I")


class Task(NamedTuple):
    """One response to verify, and how."""

    route: Route
    response: str
    ground_truth: Any
    extra_info: Mapping[str, Any]


@dataclass(frozen=True)
class Setup:
    """What the server has to know."""

    routes: tuple[Route, ...]
    memory_limit_mb: int
    cpu_limit_s: float


class Started(msgspec.Struct, tag=True, frozen=True):
    """The server's process ID, as its parent sees it."""

    pid: int


class Layer(msgspec.Struct, frozen=True):
    """A layer of the lock-down, and why it is missing if it is."""

    name: str
    present: bool
    reason: str = ""


class LoadedRoute(msgspec.Struct, frozen=True):
    """What the server knows of a route: why its verifier cannot be loaded, and whether responses may leave traces."""

    error: str | None
    keeps_state: bool


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The server has loaded the verifiers and locked itself down."""

    routes: list[LoadedRoute]
    layers: list[Layer]


class Born(msgspec.Struct, tag=True, frozen=True):
    """A child exists; the message carries the reward worker's end of its connection."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The server could not start, or could not fork a child."""

    reason: str


Message: TypeAlias = Started | Ready | Born | Failed

_messages = msgspec.msgpack.Decoder(Message)
_verdicts = msgspec.msgpack.Decoder(VerifierResult)
_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
decode_message = _messages.decode
decode_verdict = _verdicts.decode


def frame(payload: bytes) -> bytes:
    """Put the length before a payload: the connection itself has no bounds between messages."""
    return HEADER.pack(len(payload)) + payload


def pickled(sent: Setup | Task) -> bytes:
    """Write a message towards the server or a child."""
    return pickle.dumps(sent, protocol=pickle.HIGHEST_PROTOCOL)
