"""What a run of verl was trained with, as far as its folder or its name says it."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from verl_maxpo.evaluate.dumps import Run
from verl_maxpo.evaluate.names import trained_k

_HYDRA = (".hydra/config.yaml", "hydra/.hydra/config.yaml")
_KEYS = {"MODEL": "actor_rollout_ref.model.path", "ESTIMATOR": "algorithm.adv_estimator", "K": "algorithm.maxpo.k"}


def read_settings(folder: Path) -> dict[str, str]:
    """Read the file ``settings`` that the recipes' scripts write into the folder of a run: lines of NAME=value."""
    lines = (folder / "settings").read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def settings_of(run: Run) -> dict[str, str]:
    """Return MODEL and K of a run, as far as they are known.

    The file ``settings`` of the recipes and Hydra's configuration are looked for beside the dumps and a folder above;
    without them K is read off the name of a recipe's run.
    """
    first = run.files[0].resolve()
    k = trained_k(run.name)
    found = {"K": k} if k else {}
    for folder in (first.parent, first.parent.parent):
        if (folder / "settings").is_file():
            return found | {name: value for name, value in read_settings(folder).items() if value}
        for file in _HYDRA:
            if (folder / file).is_file():
                return found | _from_hydra(folder / file)
    return found


@lru_cache
def _from_hydra(file: Path) -> dict[str, str]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # OmegaConf's own takes seconds for a configuration of verl
    config = OmegaConf.create(yaml.load(file.read_text(encoding="utf-8"), Loader=loader))
    found: dict[str, str] = {}
    for name, key in _KEYS.items():
        value = OmegaConf.select(config, key, throw_on_resolution_failure=False)
        found |= {} if value is None else {name: str(value)}
    if found.get("ESTIMATOR") != "maxpo":
        found.pop("K", None)
    return found


def schedule_of(run: Run) -> dict[int, str]:
    """Return the K that a run trains with, by the step from which on; nothing where it is not known."""
    k = settings_of(run).get("K", "")
    changes = re.findall(r"(\d+)\s*:\s*(\[[^]]*\]|[^,}\s]+)", k) if k.startswith("{") else []
    return {int(step): value for step, value in changes} or ({0: k} if k else {})


def trained_ks(run: Run) -> list[int]:
    """Return every whole K that a run trains with; ``all`` is none."""
    return sorted({int(k) for value in schedule_of(run).values() for k in re.findall(r"\d+", value)})
