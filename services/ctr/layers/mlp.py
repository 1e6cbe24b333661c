"""Multi-layer perceptron, and the initialisation that all networks share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class MLP(nn.Sequential):
    """Linear, activation and dropout for each width; input (..., widths[0]), output (..., widths[-1]).

    The activation also follows the last layer: KAR's experts need that (arXiv 2306.10933, section 3.4), and a
    prediction head adds its own Linear(widths[-1], 1) behind.
    """

    def __init__(
        self, widths: Sequence[int], dropout: float = 0.0, activation: Callable[[int], nn.Module] = lambda _: nn.ReLU()
    ) -> None:
        layers: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise(widths):
            layers += [nn.Linear(width_in, width_out), activation(width_out), nn.Dropout(dropout)]
        super().__init__(*layers)


class LogitHead(nn.Module):
    """MLP with ReLU and one output: (..., width) to logits (...)."""

    def __init__(self, width: int, hidden: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.mlp = MLP([width, *hidden], dropout)
        self.logit = nn.Linear(hidden[-1], 1)

    def forward(self, values: Tensor) -> Tensor:
        """Logits (...) of values (..., width)."""
        logits: Tensor = self.logit(self.mlp(values))
        return logits.squeeze(-1)


def initialise(network: nn.Module) -> None:
    """Xavier-normal weights for every Linear, Embedding and GRUCell, zero biases, zero padding rows."""
    for module in network.modules():
        if isinstance(module, nn.GRUCell):
            for name, parameter in module.named_parameters():
                nn.init.xavier_normal_(parameter) if name.startswith("weight") else nn.init.zeros_(parameter)
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.xavier_normal_(module.weight)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, L, D) where `mask` (B, L) is 1; zeros where nothing is."""
    weights = mask.unsqueeze(-1)  # (B, L, 1)
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)  # (B, D)
