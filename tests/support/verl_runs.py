"""verl's configurations and batches."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import torch
from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from verl import DataProto


def composed(name: str, *overrides: str, package: str = "verl_maxpo.config") -> DictConfig:
    """Compose a configuration; files are read once, overrides but of groups applied to a copy as Hydra does."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    # Such as +platform=cpu and hydra.searchpath
    groups = tuple(one.input_line for one in parsed if "." not in one.key_or_group or one.key_or_group[:6] == "hydra.")
    config = copy.deepcopy(_composed(name, package, groups))
    ConfigLoaderImpl._apply_overrides_to_config([one for one in parsed if one.input_line not in groups], config)
    return config


@cache
def _composed(name: str, package: str, groups: tuple[str, ...]) -> DictConfig:
    with initialize_config_module(package, version_base=None):
        return compose(name, overrides=list(groups))


def batch(rows: int = 24, prompts: int = 3, length: int = 6, seed: int = 0) -> DataProto:
    """Build a batch as the trainer has it: interleaved prompts, padded responses of different lengths."""
    rng = np.random.default_rng(seed)
    lengths = torch.tensor(rng.integers(1, length + 1, rows))
    mask = (torch.arange(length) < lengths[:, None]).long()
    rewards = torch.zeros(rows, length)
    rewards[torch.arange(rows), lengths - 1] = torch.tensor(rng.normal(size=rows), dtype=torch.float32)
    uid = np.array([f"prompt-{i}" for i in rng.permutation(rows) % prompts], dtype=object)
    return DataProto.from_dict({"token_level_rewards": rewards, "response_mask": mask}, non_tensors={"uid": uid})
