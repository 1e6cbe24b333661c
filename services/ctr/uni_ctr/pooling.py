"""From the states of a prompt's tokens to one vector; padding has no share in any of these."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """The gate: score = tanh(O W_k) w_q, softmax over real tokens, sum (arXiv 2312.10743, equations 11 and 12)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.key, self.query = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, 1, bias=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, W) of `values` (B, T, W) where `mask` (B, T) is 1."""
        weights = self.weights(values, mask)
        return (weights.unsqueeze(-1) * values).sum(dim=1)

    def weights(self, values: Tensor, mask: Tensor) -> Tensor:
        """Each token's share (B, T); shares sum to 1, padding's are exactly 0."""
        scores = self.query(torch.tanh(self.key(values))).squeeze(-1)  # (B, T)
        lowest = torch.finfo(scores.dtype).min
        return torch.softmax(scores.masked_fill(mask == 0, lowest), dim=-1) * mask.to(scores.dtype)


def last_token(values: Tensor, mask: Tensor) -> Tensor:
    """(B, W): the last real token's of `values` (B, T, W), padded on the right by `mask` (B, T)."""
    last = (mask.sum(dim=1) - 1).clamp(min=0).long()
    return values[torch.arange(len(values), device=values.device), last]
