"""Find out what a run of verl was trained with, from its folder or its name."""

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
    """Read ``settings``, a file with lines NAME=value that the recipes' scripts write into a run's folder."""
    lines = (folder / "settings").read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def settings_of(run: Run) -> dict[str, str]:
    """Return MODEL and K of a run, as far as they are known.

    They come from the recipes' file ``settings`` or from Hydra's configuration, in the folder of the dumps or the one
    above. Without these, K comes from the run's name if a recipe named it.
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
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # OmegaConf's own takes seconds for verl's configuration
    config = OmegaConf.create(yaml.load(file.read_text(encoding="utf-8"), Loader=loader))
    found: dict[str, str] = {}
    for name, key in _KEYS.items():
        value = OmegaConf.select(config, key, throw_on_resolution_failure=False)
        found |= {} if value is None else {name: str(value)}
    if found.get("ESTIMATOR") != "maxpo":
        found.pop("K", None)
    return found


def schedule_of(run: Run) -> dict[int, str]:
    """Return the K that a run trains with, each by the step from which it applies; empty if K is not known."""
    k = settings_of(run).get("K", "")
    changes = re.findall(r"(\d+)\s*:\s*(\[[^]]*\]|[^,}\s]+)", k) if k.startswith("{") else []
    return {int(step): value for step, value in changes} or ({0: k} if k else {})


def trained_ks(run: Run) -> list[int]:
    """Return every whole number that a run trains with as K; ``all`` is not one."""
    return sorted({int(k) for value in schedule_of(run).values() for k in re.findall(r"\d+", value)})
