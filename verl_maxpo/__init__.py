"""MaxPO for verl: train for the best of K samples.

This package imports neither verl nor Ray. verl finds ``verl_maxpo.plugin`` through the entry-point group
``verl.plugins``; what is exported here is the pure PyTorch core, usable in any training code.
PyTorch is imported with the first name that needs it, so that the verifiers' processes do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from verl_maxpo.best_of_k.pass_at_k import pass_at_k

if TYPE_CHECKING:
    from verl_maxpo.best_of_k.advantages import (
        grouped_maj_at_k_advantages,
        grouped_max_at_k_advantages,
        grouped_selected_at_k_advantages,
        maj_at_k_advantages,
        max_at_k_advantages,
        selected_at_k_advantages,
    )
    from verl_maxpo.best_of_k.estimates import maj_at_k, max_at_k, selected_at_k

__version__ = "0.2.0"

#: The versions of verl that this release was run with; others give a warning.
TESTED_VERL = ("0.9.1",)

__all__ = [
    "grouped_maj_at_k_advantages",
    "grouped_max_at_k_advantages",
    "grouped_selected_at_k_advantages",
    "maj_at_k",
    "maj_at_k_advantages",
    "max_at_k",
    "max_at_k_advantages",
    "pass_at_k",
    "selected_at_k",
    "selected_at_k_advantages",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "advantages" if name.endswith("_advantages") else "estimates"
    return getattr(import_module(f"verl_maxpo.best_of_k.{module}"), name)
