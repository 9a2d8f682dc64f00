"""What the CPU platform changes in verl, each when verl imports the module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from verl_maxpo.guards import changed, expect_parameters

#: Seconds that the actor and vLLM wait for each other's next message while they synchronise weights.
WEIGHT_TRANSFER_TIMEOUT_S = 300

#: Seconds between two looks for finished rollouts on the CPU platform; verl waits 2.
POLL_INTERVAL_S = 0.1


def install() -> None:
    """Apply what :mod:`verl_maxpo.cpu` needs."""
    wrapt.register_post_import_hook(register_cpu_engines, "verl.workers.engine.fsdp.transformer_impl")
    wrapt.register_post_import_hook(use_gloo, "verl.utils.distributed")
    wrapt.register_post_import_hook(bound_weight_transfer, "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer")
    wrapt.register_post_import_hook(poll_often, "verl.trainer.ppo.v1.replay_buffer")
    wrapt.register_post_import_hook(copy_saved_weights, "verl.utils.fsdp_utils")


def register_cpu_engines(module: ModuleType) -> None:
    """Register the FSDP2 engines for the CPU, and refuse FSDP1, in verl's engine registry."""
    for model_type, name in [("language_model", "FSDPEngineWithLMHead"), ("value_model", "FSDPEngineWithValueHead")]:
        engine = getattr(module, name, None)
        if engine is None:
            raise changed(module, name, "a class", "none")

        class NoFSDP1(engine):  # type: ignore[misc, valid-type]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                raise ValueError(
                    "VERL_PLATFORM=cpu runs FSDP2 only, got strategy fsdp: set actor_rollout_ref.actor.strategy=fsdp2 "
                    "(and the same for actor_rollout_ref.ref and critic where they are used)"
                )

        module.EngineRegistry.register(model_type=model_type, backend="fsdp2", device="cpu")(engine)
        module.EngineRegistry.register(model_type=model_type, backend="fsdp", device="cpu")(NoFSDP1)


def use_gloo(module: ModuleType) -> None:
    """Make the workers' process group for gloo, where verl would name the CPU twice."""
    expect_parameters(module, "initialize_global_process_group_ray", ["timeout_second", "backend"])

    @wrapt.patch_function_wrapper(module, "initialize_global_process_group_ray")
    def initialize(wrapped: Callable[..., None], instance: None, args: Any, kwargs: Any) -> None:
        arguments = inspect.signature(wrapped).bind(*args, **kwargs).arguments
        wrapped(**{**arguments, "backend": arguments.get("backend") or "gloo"})


def bound_weight_transfer(module: ModuleType) -> None:
    """End a weight synchronisation with an error if the other side is gone, instead of waiting forever."""
    import zmq

    expect_parameters(module, "BucketedWeightSender.async_send_weights", ["self", "weights"])
    expect_parameters(module, "BucketedWeightReceiver.receive_weights", ["self", "on_bucket_received"])
    for side in ("BucketedWeightSender", "BucketedWeightReceiver"):
        expect_parameters(module, f"{side}._init_socket", ["self"])

        @wrapt.patch_function_wrapper(module, f"{side}._init_socket")
        def init_socket(wrapped: Callable[[], None], instance: Any, args: Any, kwargs: Any) -> None:
            wrapped()
            instance.socket.rcvtimeo = instance.socket.sndtimeo = WEIGHT_TRANSFER_TIMEOUT_S * 1000

    @wrapt.patch_function_wrapper(module, "BucketedWeightSender.async_send_weights")
    async def async_send_weights(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> None:
        try:
            await wrapped(*args, **kwargs)
        except zmq.Again:
            raise TimeoutError(
                f"vLLM took no weights for {WEIGHT_TRANSFER_TIMEOUT_S} s: its own error, if any, is further up in "
                "this log; otherwise the machine is out of memory or too slow"
            ) from None

    @wrapt.patch_function_wrapper(module, "BucketedWeightReceiver.receive_weights")
    def receive_weights(wrapped: Callable[..., None], instance: Any, args: Any, kwargs: Any) -> None:
        try:
            wrapped(*args, **kwargs)
        except zmq.Again:
            raise TimeoutError(f"the actor sent no weights for {WEIGHT_TRANSFER_TIMEOUT_S} s") from None


def poll_often(module: ModuleType) -> None:
    """Let the replay buffers look for finished rollouts more often."""
    expect_parameters(module, "ReplayBuffer._wait_for_next_poll", ["self", "partition_id", "last_debug_time"])

    @wrapt.patch_function_wrapper(module, "ReplayBuffer._wait_for_next_poll")
    def wait(wrapped: Callable[..., float], instance: Any, args: Any, kwargs: Any) -> float:
        instance.poll_interval = min(instance.poll_interval, POLL_INTERVAL_S)
        return wrapped(*args, **kwargs)


def copy_saved_weights(module: ModuleType) -> None:
    """Copy weights that verl saves for later: moving them "to the CPU" copies nothing if they are there."""
    expect_parameters(module, "fsdp2_sharded_save_to_cpu", ["model"])

    @wrapt.patch_function_wrapper(module, "fsdp2_sharded_save_to_cpu")
    def save(wrapped: Callable[..., Any], instance: None, args: Any, kwargs: Any) -> Any:
        shards, spec = wrapped(*args, **kwargs)
        return {name: (shard.clone(), of) for name, (shard, of) in shards.items()}, spec
