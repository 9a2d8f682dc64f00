"""Expected policy gradients of small softmax policies, by enumerating every batch of responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor


@dataclass(frozen=True)
class Policy:
    """One prompt with a few possible responses.

    Attributes:
        probability: Of each response, ``[responses]``; a softmax of logits.
        reward: Of each response, ``[responses]``.
    """

    probability: Tensor
    reward: Tensor

    def batches(self, n: int) -> tuple[Tensor, Tensor]:
        """Return every group of n responses, ``[groups, n]``, and how likely each is, ``[groups]``."""
        responses = torch.tensor(list(product(range(len(self.reward)), repeat=n)))
        return responses, self.probability[responses].prod(dim=-1)

    def gradient(self, n: int, coefficient: Callable[[Tensor], Tensor]) -> Tensor:
        """Return E[sum_i c_i grad log pi(x_i)] in the logits, ``[responses]``; ``c`` maps ``[groups, n]`` rewards."""
        responses, likelihood = self.batches(n)
        return self.gradient_of(responses, likelihood[:, None] * coefficient(self.reward[responses]))

    def gradient_of(self, responses: Tensor, coefficients: Tensor) -> Tensor:
        """Return the sum of ``coefficients`` times grad log pi of ``responses`` of the same shape."""
        one_hot = torch.nn.functional.one_hot(responses.flatten(), len(self.reward)).double()
        return coefficients.flatten() @ (one_hot - self.probability)

    def max_at_k_gradient(self, k: int) -> Tensor:
        """Return the gradient of E[max of k responses]."""
        return self.gradient(k, lambda rewards: rewards.max(dim=-1, keepdim=True).values.expand_as(rewards))


EASY = Policy(torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64), torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64))
RARE = Policy(torch.tensor([0.9, 0.1], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64))
