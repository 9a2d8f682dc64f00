"""What verl adds to a vLLM worker, for vLLM's CPU build."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import logger as reload_logger

#: Endings of the names of layers for which the actor sends no weights: they are computed, or another layer's.
WITHOUT_WEIGHTS = {"RotaryEmbedding"}


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """Loads weights into a running vLLM engine on a CPU.

    vLLM's CPU layers repack their weight for oneDNN after loading and drop the original
    (``vllm/model_executor/layers/utils.py: dispatch_cpu_unquantized_gemm``), so verl's plain ``model.load_weights``
    fails. This uses vLLM's own layer-wise reload.
    """

    def update_weights_from_ipc(
        self, peft_config: dict[str, Any] | None = None, base_sync_done: bool = False, use_shm: bool = False
    ) -> None:
        """Replace the model's weights by those the actor sends; there is no LoRA (``peft_config``) on the CPU."""
        if peft_config is not None:
            raise NotImplementedError("VERL_PLATFORM=cpu has no LoRA: set actor_rollout_ref.model.lora_rank=0")
        model = self.model_runner.model
        if getattr(self.model_runner.model_config.hf_config, "tie_word_embeddings", False):
            WITHOUT_WEIGHTS.add("ParallelLMHead")
        reload_logger.addFilter(is_news)
        initialize_layerwise_reload(model)
        take_weights(BucketedWeightReceiver(self._get_zmq_handle(), self.device, use_shm), model.load_weights)
        finalize_layerwise_reload(model, self.model_runner.vllm_config.model_config)
        self._repack_embeddings(model)

    @staticmethod
    def _repack_embeddings(model: torch.nn.Module) -> None:
        """Repack output layers that share the input embedding's weight, and so got no weight of their own."""
        for layer in model.modules():
            if isinstance(layer, VocabParallelEmbedding):
                layer.quant_method.process_weights_after_loading(layer)


def is_news(record: logging.LogRecord) -> bool:
    """Return False for vLLM's warnings, at every update, about layers without weights of their own."""
    return not record.getMessage().endswith(tuple(f"{layer}: Failed to load weights" for layer in WITHOUT_WEIGHTS))


def take_weights(receiver: BucketedWeightReceiver, load: Callable[[list[tuple[str, torch.Tensor]]], Any]) -> None:
    """Load every bucket of weights that the actor sends.

    The first error of ``load`` is raised after all buckets: the actor waits for each to be acknowledged, and would wait
    forever if this stopped half-way.
    """
    failures: list[Exception] = []

    def load_bucket(weights: list[tuple[str, torch.Tensor]], is_last: bool) -> None:
        # The tensors are views of a buffer that is unmapped when this returns. No reference to one may survive, not
        # even in the traceback of a failure.
        copies = [(name, tensor.clone()) for name, tensor in weights]
        weights.clear()
        try:
            load(copies)
        except Exception as error:
            failures.append(error)

    receiver.receive_weights(load_bucket)
    if failures:
        raise failures[0]
