"""MaxPO for verl: train for the best of K samples.

This package imports neither verl nor Ray. verl finds ``verl_maxpo.plugin`` through the entry-point group
``verl.plugins``; what is imported here is the pure PyTorch core, usable in any training code.
"""

from verl_maxpo.max_at_k import grouped_max_at_k_advantages, max_at_k, max_at_k_advantages
from verl_maxpo.pass_at_k import pass_at_k

__version__ = "0.1.0"

#: The versions of verl that this release was run with; others give a warning.
TESTED_VERL = ("0.9.1",)

__all__ = ["grouped_max_at_k_advantages", "max_at_k", "max_at_k_advantages", "pass_at_k"]
