"""Attention of a candidate over a history, and of a set over itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from services.ctr.layers.dice import Dice
from services.ctr.layers.mlp import MLP


class TargetAttention(nn.Module):
    """Sum of history vectors, weighted by an MLP of [q, k, q - k, q * k]; no softmax (arXiv 1706.06978, section 4.3).

    q is a candidate (B, C, D), k a history entry (B, L, D). The first layer W [q, k, q - k, q * k] is never formed for
    each pair; it equals (Wq + Wd) q + (Wk - Wd) k + Wp (q * k), where the second term depends on the user alone and
    the third is one matrix product of q with k's own (D, H) matrix. That matrix pays from some candidates on; for one
    candidate a user, as in training, the product of the pair is cheaper.
    """

    def __init__(self, width: int, hidden: Sequence[int] = (32, 16)) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(4 * width, hidden[0])
        self.activation = Dice(hidden[0])
        self.rest = MLP(hidden, activation=Dice)
        self.score = nn.Linear(hidden[-1], 1)

    def forward(self, candidates: Tensor, history: Tensor, mask: Tensor) -> Tensor:
        """Interest (B, C, D) of `candidates` (B, C, D) in `history` (B, L, D) where `mask` (B, L) is 1."""
        pairs = self.first_layer(candidates, history)  # (B, C, L, H)
        if self.training:  # padding must not count in the statistics of Dice
            there = (mask > 0).unsqueeze(1).expand(pairs.shape[:3])
            found = self._weights(pairs[there])  # (pairs that are there,)
            weights = torch.zeros(there.shape, dtype=found.dtype, device=found.device).masked_scatter(there, found)
        else:
            weights = self._weights(pairs) * mask.unsqueeze(1)  # (B, C, L)
        return torch.matmul(weights, history)  # (B, C, D)

    def _weights(self, pairs: Tensor) -> Tensor:
        """Weights (...) of the first layer's output (..., H)."""
        weights: Tensor = self.score(self.rest(self.activation(pairs)))
        return weights.squeeze(-1)

    def first_layer(self, candidates: Tensor, history: Tensor) -> Tensor:
        """W [q, k, q - k, q * k] + b of every pair, (B, C, L, H)."""
        of_q, of_k, of_difference, of_product = torch.split(self.first.weight, self.width, dim=1)  # (H, D) each
        query_part = candidates @ (of_q + of_difference).T  # (B, C, H)
        key_part = history @ (of_k - of_difference).T + self.first.bias  # (B, L, H)
        if candidates.shape[1] == 1:
            product_part = ((candidates * history) @ of_product.T).unsqueeze(1)  # (B, 1, L, H)
        else:
            product_matrix = history.unsqueeze(-1) * of_product.T  # (B, L, D, H)
            product_part = torch.einsum("bcd,bldh->bclh", candidates, product_matrix)  # (B, C, L, H)
        pairs: Tensor = query_part.unsqueeze(2) + key_part.unsqueeze(1) + product_part
        return pairs


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention of a set over itself (arXiv 1706.03762, section 3.2).

    (B, N, D) to (B, N, D); entries whose mask is 0 are attended by none. Without positions it is equivariant to the
    order of the set. A set without any entry gives zeros.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must be a multiple of heads {heads}")
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Attend within `values` (B, N, D) where `mask` (B, N) is 1."""
        split = self.project(values).unflatten(-1, (3, self.heads, -1))  # (B, N, 3, H, D/H)
        query, key, value = (part.transpose(1, 2) for part in split.unbind(dim=2))  # (B, H, N, D/H)
        away = -1e9 * (mask == 0).to(query.dtype)[:, None, None, :]  # finite: a set without entries must give no NaN
        found = scaled_dot_product_attention(query, key, value, away) * (mask != 0).any(dim=1)[:, None, None, None]
        attended: Tensor = self.output(found.transpose(1, 2).flatten(-2))  # (B, N, D)
        return attended


class SelfAttentionBlock(nn.Module):
    """The transformer's encoder block: attention, then a layer with ReLU, each with a residual and a layer norm.

    (B, N, D) to (B, N, D), D a multiple of `heads`; the inner layer is 2 D wide (arXiv 1706.03762, section 3.1).
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.after_attention, self.after_layer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Transform `values` (B, N, D) where `mask` (B, N) is 1."""
        attended = self.after_attention(values + self.dropout(self.attention(values, mask)))
        layer = self.outer(torch.relu(self.inner(attended)))
        transformed: Tensor = self.after_layer(attended + self.dropout(layer))
        return transformed
