"""Explicit crossings of features and of fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class VectorCross(nn.Module):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l, `layers` times (DCN, arXiv 1708.05123, equation 3), (..., D)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.weights = nn.ModuleList(nn.Linear(width, 1, bias=False) for _ in range(layers))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(layers))

    def forward(self, first: Tensor) -> Tensor:
        """Cross (..., D)."""
        crossed = first
        for weight, bias in zip(self.weights, self.biases, strict=True):
            crossed = first * weight(crossed) + bias + crossed
        return crossed


class MatrixCross(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, `layers` times (DCN V2, arXiv 2008.13535, equation 1)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, first: Tensor) -> Tensor:
        """Cross (..., D)."""
        crossed = first
        for layer in self.layers:
            crossed = first * layer(crossed) + crossed
        return crossed


class CompressedInteraction(nn.Module):
    """xDeepFM's CIN (arXiv 1803.05170, equation 6): each layer weighs all products of its fields with the input's.

    (B, C, N, D) to (B, C, sum of `maps`), the maps of every layer summed over D.
    """

    def __init__(self, fields: int, maps: Sequence[int]) -> None:
        super().__init__()
        widths = [fields, *maps[:-1]]
        self.layers = nn.ModuleList(
            nn.Linear(before * fields, after, bias=False) for before, after in zip(widths, maps, strict=True)
        )

    def forward(self, fields: Tensor) -> Tensor:
        """Interact (B, C, N, D)."""
        hidden, pooled = fields, []
        for layer in self.layers:
            products = torch.einsum("bcid,bcjd->bcdij", hidden, fields).flatten(-2)  # (B, C, D, H N)
            hidden = layer(products).transpose(-1, -2)  # (B, C, H', D)
            pooled.append(hidden.sum(dim=-1))
        return torch.cat(pooled, dim=-1)


def factorisation_machine(fields: Tensor) -> Tensor:
    """Sum of the dot products of all pairs of fields: (B, C, N, D) to (B, C) (DeepFM, arXiv 1703.04247, equation 2)."""
    square_of_sum = fields.sum(dim=2) ** 2
    sum_of_squares = (fields**2).sum(dim=2)
    return 0.5 * (square_of_sum - sum_of_squares).sum(dim=-1)
