"""Find out whether ``algorithm.adv_estimator=maxpo`` would run here, and what to do if not: ``verl-maxpo doctor``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from typing import Literal

import torch
from tqdm import tqdm

from verl_maxpo import TESTED_VERL
from verl_maxpo.rewards.registry import verifier_names
from verl_maxpo.trainer import estimator

_PACKAGES = ("verl-maxpo", "verl", "torch", "vllm", "sglang", "ray", "TransferQueue", "transformers", "tensordict")
#: What verl's V1 trainer imports and does not require; vLLM brings the last three.
_TRAINER_IMPORTS = ("transfer_queue", "cachetools", "fastapi", "uvicorn")
_OURS = f"{estimator.__name__}.{estimator.compute_maxpo_outcome_advantage.__name__}"
_RAY_TIMEOUT_S = 120
_WITHOUT_RAY = (
    "on a busy machine, try again; else see logs/ in Ray's session folder (/tmp/ray/session_latest). RAY_ADDRESS names "
    "an existing cluster, and --no-ray skips this check"
)


@dataclass(frozen=True)
class Finding:
    """One thing the doctor looked at.

    Attributes:
        level: ``ok``, ``note`` (worth knowing) or ``fail`` (stops a run).
        text: What was found.
        fix: What to do about it.
    """

    level: Literal["ok", "note", "fail"]
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"[{self.level:>4}] {self.text}" + (f"\n       fix: {self.fix}" if self.fix else "")


def registered_estimator() -> str | None:
    """Return the full name of what verl calls ``maxpo`` in this process, None if it knows no such estimator."""
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    function = ADV_ESTIMATOR_REGISTRY.get("maxpo")
    return function and f"{function.__module__}.{function.__qualname__}"


def examine(*, ray: bool = True, nodes: int = 1, gpus: int = 0, wait: int = 0) -> Iterator[Finding]:
    """Look at everything, and yield findings; later ones depend on earlier ones.

    Args:
        ray: Also look into Ray's workers.
        nodes: How many nodes Ray must have: ``trainer.nnodes``.
        gpus: How many GPUs must be free on each node: ``trainer.n_gpus_per_node``.
        wait: Seconds to wait until nodes have joined, or until Ray has cleaned up after a run that was killed.
    """
    yield _versions()
    yield from _missing_packages()
    yield _how_verl_finds_the_plugin()
    yield _accelerator()
    try:
        registered = registered_estimator()
    except ImportError as error:
        yield Finding("fail", f"verl cannot be imported: {error}", "repair the installation of verl first")
        return
    yield _registration(registered, "this process")
    yield from _verifiers()
    if ray:
        yield from _ray_cluster(nodes, gpus, wait)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions() -> Finding:
    found = [f"{package} {_installed(package) or 'none'}" for package in _PACKAGES]
    return Finding("ok", f"Python {sys.version.split()[0]}; {', '.join(found)}")


def _missing_packages() -> Iterator[Finding]:
    verl = _installed("verl")
    if verl is not None and verl not in TESTED_VERL:
        yield Finding("note", f"verl {verl} is untested with verl-maxpo", f"tested: {', '.join(TESTED_VERL)}")
    missing = [module for module in _TRAINER_IMPORTS if find_spec(module) is None]
    if missing:
        yield Finding("fail", f"verl's trainer needs {', '.join(missing)}", "pip install 'verl-maxpo[trainer]'")
    if _installed("vllm") is None and _installed("sglang") is None:
        yield Finding(
            "fail", "verl's rollouts need vLLM or SGLang", "pip install vllm (without a GPU: docs/cpu_platform.md)"
        )


def _how_verl_finds_the_plugin() -> Finding:
    modules = os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(",")
    if "verl_maxpo.plugin" in modules:
        return Finding("ok", "VERL_USE_EXTERNAL_MODULES names verl_maxpo.plugin")
    names = [point.name for point in entry_points(group="verl.plugins") if point.value == "verl_maxpo.plugin"]
    if not names:
        fix = "install verl-maxpo with pip, from its folder; on PYTHONPATH alone it has no entry points"
        return Finding("fail", "no entry point leads verl to verl_maxpo.plugin", fix)
    policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
    if policy != "auto" and names[0] not in policy.split(","):
        fix = f"unset it, or add {names[0]} to it"
        return Finding("fail", f"VERL_USE_EXTERNAL_PLUGINS={policy} hides the entry point {names[0]}", fix)
    return Finding("ok", f"the entry point {names[0]} leads verl to verl_maxpo.plugin")


def _accelerator() -> Finding:
    if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
        return Finding("ok", "VERL_PLATFORM=cpu: verl runs on verl-maxpo's CPU platform")
    if torch.cuda.is_available():
        return Finding("ok", f"{torch.cuda.device_count()} CUDA devices, the first {torch.cuda.get_device_name(0)}")
    fix = "use a node that has one, or VERL_PLATFORM=cpu with the configuration maxpo_trainer_cpu"
    return Finding("note", "this process sees no CUDA device", fix)


def _registration(registered: str | None, where: str) -> Finding:
    if registered == _OURS:
        return Finding("ok", f"maxpo is registered in {where}")
    if registered is None:
        fix = "install verl-maxpo there and look for its warning in the log of `python -c 'import verl'`"
        return Finding("fail", f"maxpo is not registered in {where}", fix)
    return Finding("fail", f"maxpo is {registered} in {where}, which is not verl-maxpo's", "uninstall the other plugin")


def _verifiers() -> Iterator[Finding]:
    yield Finding("ok", f"verifiers of reward.reward_manager.name=verifier: {', '.join(verifier_names())}")
    wanted = ["math-verify", "reasoning-gym", *(["pyseccomp"] if sys.platform == "linux" else [])]
    missing = [package for package in wanted if _installed(package) is None]
    if missing:
        yield Finding("note", f"{', '.join(missing)} is missing, for verifiers", "pip install 'verl-maxpo[rewards]'")
    yield from _lockdown()


def _lockdown() -> Iterator[Finding]:
    """Say which layers isolate a verifier's process here; the reward manager runs with those that exist."""
    try:
        from verl_maxpo.rewards.isolation.pool import probe_layers

        layers = probe_layers()
    except ModuleNotFoundError as error:
        yield Finding("note", f"{error.name} is missing, for verifiers", "pip install 'verl-maxpo[rewards]'")
        return
    except RuntimeError as error:
        yield Finding("fail", f"verifiers have no process to run in: {error}", "see docs/isolation.md")
        return
    present = ", ".join(layer.name for layer in layers if layer.present)
    yield Finding("ok", f"around a verifier's process: {present or 'nothing but limits'}")
    for layer in layers:
        if not layer.present:
            yield Finding("note", f"not around it: {layer.name} ({layer.reason})", "see docs/isolation.md")


def _ray_cluster(nodes: int, gpus: int, wait: int) -> Iterator[Finding]:
    import ray

    try:
        ray.init(log_to_driver=False, logging_level="ERROR")
        yield _free_gpus(nodes, gpus, wait)
        yield from _ray_workers()
    except Exception as error:
        yield Finding("fail", f"Ray does not start: {error}", _WITHOUT_RAY)
    finally:
        ray.shutdown()


def _free_gpus(nodes: int, gpus: int, wait: int) -> Finding:
    with tqdm(range(wait + 1), "waiting for nodes", unit="s", delay=2, leave=False, disable=None) as seconds:
        for second in seconds:
            found = _free_gpus_of_nodes()
            seen = ", ".join(f"{address} with {free:g}" for address, free in found)
            if sum(free >= gpus for _, free in found) >= nodes:
                return Finding("ok", f"Ray's nodes and their free GPUs: {seen}")
            seconds.set_postfix_str(seen, refresh=False)
            time.sleep(1 if second < wait else 0)
    text = f"{nodes} nodes with {gpus} free GPUs each are needed, found {len(found)} in {wait} s: {seen}"
    fix = "start what is missing, stop jobs that hold GPUs (`ray job list`), or lower NNODES or GPUS"
    return Finding("fail", text, fix)


def _free_gpus_of_nodes() -> list[tuple[str, float]]:
    from ray._private.state import available_resources_per_node  # what verl itself asks, in ResourcePoolManager

    free = available_resources_per_node()
    return sorted((node["NodeManagerAddress"], free.get(node["NodeID"], {}).get("GPU", 0)) for node in _living_nodes())


def _living_nodes() -> list[dict[str, str]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _ray_workers() -> Iterator[Finding]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(registered_estimator)
    for node in _living_nodes():
        where = f"a Ray worker on {node['NodeManagerAddress']}"
        strategy = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        try:
            found = ray.get(look.options(scheduling_strategy=strategy).remote(), timeout=_RAY_TIMEOUT_S)
        except Exception as error:
            reason = str(error).strip().splitlines()[-1]
            yield Finding("fail", f"{where} cannot import verl: {reason}", "install verl and verl-maxpo there")
        else:
            yield _registration(found, where)
