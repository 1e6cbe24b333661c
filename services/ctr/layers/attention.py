"""DIN's attention of a candidate over a user's history, factored so that the history half is computed once a user."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

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
        hidden = self.activation(self.first_layer(candidates, history))  # (B, C, L, H)
        weights = self.score(self.rest(hidden)).squeeze(-1)  # (B, C, L)
        return torch.matmul(weights * mask.unsqueeze(1), history)  # (B, C, D)

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
