"""Dice, the activation of DIN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dice(nn.Module):
    """Data-adaptive activation: p(x) * x + (1 - p(x)) * alpha * x with p = sigmoid of the normalised x.

    Source: DIN, arXiv 1706.06978, equation 9. Input and output (..., width). In training x is normalised with the
    statistics of all leading positions together, so leave out what is no sample, such as padding; in evaluation, and
    where there is no pair of positions to have a variance, with their running averages.
    """

    def __init__(self, width: int, momentum: float = 0.01, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(width, eps=epsilon, momentum=momentum, affine=False)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, values: Tensor) -> Tensor:
        """Activate (..., width)."""
        flat = values.flatten(0, -2)
        gate = torch.sigmoid(self._normalised(flat)).view_as(values)
        return gate * values + (1 - gate) * self.alpha * values

    def _normalised(self, flat: Tensor) -> Tensor:
        if self.training and len(flat) < 2:
            running = self.normalise.running_mean, self.normalise.running_var
            return functional.batch_norm(flat, *running, eps=self.normalise.eps)
        normalised: Tensor = self.normalise(flat)
        return normalised
