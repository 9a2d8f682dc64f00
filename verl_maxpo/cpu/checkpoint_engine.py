"""Weights over gloo for verl's ``separate_async`` trainer, whose own engines need an accelerator."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable
from datetime import timedelta
from typing import Any

import ray
import torch
from torch._C._distributed_c10d import TCPStore
from torch.distributed import ProcessGroupGloo
from verl.checkpoint_engine import CheckpointEngine, CheckpointEngineRegistry
from verl.workers.rollout.utils import ensure_async_iterator

from verl_maxpo.cpu.patches import WEIGHT_TRANSFER_TIMEOUT_S

_TIMEOUT = timedelta(seconds=WEIGHT_TRANSFER_TIMEOUT_S)


@CheckpointEngineRegistry.register("gloo")
class GlooCheckpointEngine(CheckpointEngine):
    """Sends each weight, one by one, from the first training worker (``is_master``) to every rollout worker.

    ``actor_rollout_ref.rollout.checkpoint_engine.backend=gloo``; ``platform/cpu.yaml`` names this module as the one
    to import.
    """

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self._is_master = is_master
        self._store: TCPStore | None = None
        self._group: Any = None  # torch's stubs give ProcessGroupGloo no methods

    def prepare(self) -> tuple[str, int] | None:
        """Return the address at which the others meet the first training worker."""
        if not self._is_master:
            return None
        host = ray.util.get_node_ip_address()
        self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=_TIMEOUT)
        return host, self._store.port

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[Any]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Return the arguments of :meth:`init_process_group` for training and for rollout workers."""
        common = {"world_size": 1 + rollout_world_size, "address": metadata[0]}
        ranks = [0] + [None] * (actor_wg_world_size - 1), list(range(1, 1 + rollout_world_size))
        actor, rollout = ({"rank": rank, **{k: [v] * len(rank) for k, v in common.items()}} for rank in ranks)
        return actor, rollout

    def init_process_group(self, rank: int | None, world_size: int, address: tuple[str, int]) -> None:
        """Join the group, unless this is a training worker other than the first."""
        if rank is None:
            return
        if self._store is None:
            self._store = TCPStore(*address, is_master=False, timeout=_TIMEOUT)
        self._group = ProcessGroupGloo(self._store, rank, world_size, _TIMEOUT)

    def finalize(self) -> None:
        """Leave the group."""
        self._group = self._store = None

    async def send_weights(self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None) -> None:
        """Send the weights; every training worker takes part in gathering them."""
        number = 0
        async for name, weight in ensure_async_iterator(weights):
            if self._group is not None and self._store is not None:
                self._store.set(str(number), json.dumps([name, list(weight.shape), str(weight.dtype)]))
                self._group.broadcast(weight.detach().contiguous(), 0).wait()
            number += 1
        if self._store is not None:
            self._store.set(str(number), json.dumps(None))

    async def receive_weights(self, global_steps: int | None = None) -> AsyncGenerator[tuple[str, torch.Tensor], None]:
        """Receive the weights in the order they were sent."""
        assert self._store is not None
        number = 0
        while (described := json.loads(self._store.get(str(number)))) is not None:
            name, shape, dtype = described
            weight = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
            self._group.broadcast(weight, 0).wait()
            yield name, weight
            number += 1
