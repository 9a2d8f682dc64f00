"""The process that loads the verifiers, locks itself down and forks a child whenever it is asked to.

It reads nothing that a child has written. If it dies, so do its children, and if the reward worker dies, so does it.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import warnings
from typing import NoReturn

from verl_maxpo.rewards.isolation import child, messages
from verl_maxpo.rewards.isolation.libc import die_with_parent
from verl_maxpo.rewards.isolation.lockdown import CONNECTION, Lockdown
from verl_maxpo.rewards.isolation.messages import MAX_MESSAGE, LoadedRoute, Message, Setup
from verl_maxpo.rewards.isolation.namespaces import enter_process_namespace
from verl_maxpo.rewards.registry import load_verifier, verifier_module
from verl_maxpo.rewards.routing import Route


def main(descriptor: int) -> None:
    """Run the server, if possible as the first process of its own namespace, while this process waits for it."""
    die_with_parent(signal.SIGKILL)
    control = socket.socket(fileno=descriptor)
    setup: Setup = pickle.loads(control.recv(MAX_MESSAGE))
    layer = messages.Layer("process namespace", True)
    try:
        pid = enter_process_namespace()
    except OSError as error:
        layer, pid = messages.Layer(layer.name, False, str(error)), 0
        _send(control, messages.Started(os.getpid()))
    if pid:
        _send(control, messages.Started(pid))
        control.close()
        os.waitpid(pid, 0)
        return
    try:
        ForkServer(control, setup, layer).serve()
    except Exception as error:
        _send(control, messages.Failed(f"{type(error).__name__}: {error}"))
        raise


class ForkServer:
    """Loads the verifiers, locks itself down and forks children; ``layer`` is in place already."""

    def __init__(self, control: socket.socket, setup: Setup, layer: messages.Layer) -> None:
        self._control = control
        routes = [_load(route) for route in setup.routes]
        self._lockdown = Lockdown(setup.memory_limit_mb, setup.cpu_limit_s)
        self._lockdown.lock_server()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes children that have ended
        gc.collect()
        gc.freeze()  # children share what exists now instead of copying it
        warnings.filterwarnings("ignore", "This process.*multi-threaded", DeprecationWarning)  # threads of libraries
        _send(control, messages.Ready(routes, [layer, *self._lockdown.layers]))

    def serve(self) -> None:
        """Fork a child for each message of the reward worker, until that closes the connection."""
        while self._control.recv(1):
            try:
                pid = os.fork()
            except OSError as error:
                _send(self._control, messages.Failed(str(error)))
                continue
            if pid == 0:
                self._become_child()

    def _become_child(self) -> NoReturn:
        try:
            here, there = socket.socketpair()
            socket.send_fds(self._control, [messages.encode(messages.Born())], [there.fileno()])
            self._lockdown.lock_child(here.fileno())
            child.serve(CONNECTION)
        finally:
            os._exit(1)  # whatever happened: this process must not go on as a server


def _load(route: Route) -> LoadedRoute:
    """Load a verifier and what it says about itself, see :class:`.result.Verifier`."""
    try:
        load_verifier(route.verifier)
        module = verifier_module(route.verifier)
        getattr(module, "prepare", lambda **_: None)(**route.options)
        by_itself = getattr(module, "keeps_state", True)
    except Exception as error:
        hint = " (for verl-maxpo's own: pip install 'verl-maxpo[rewards]')" if isinstance(error, ImportError) else ""
        return LoadedRoute(f"{type(error).__name__}: {error}{hint}", True)
    return LoadedRoute(None, by_itself if route.keeps_state is None else route.keeps_state)


def _send(control: socket.socket, message: Message) -> None:
    control.send(messages.encode(message))
