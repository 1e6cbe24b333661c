"""SetRank: a list is a set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import LogitHead, SelfAttentionBlock, initialise
from services.ctr.rerankers.list_embedding import ListEmbedding


class SetRank(nn.Module):
    """logits = MLP(block(W x)) without positions: another order of the candidates gives the logits in that order.

    x = [candidate, mean history, augmented item, augmented user]. Source: SetRank, arXiv 1912.05891, with the sizes of
    KAR's experiments: one block of 2 heads, MLP 200-80. `attention_loss` is the paper's loss.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        width: int = 64,
        heads: int = 2,
        hidden: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = ListEmbedding(spec)
        self.project = nn.Linear(self.embedding.width, width)
        self.block = SelfAttentionBlock(width, heads, dropout)
        self.head = LogitHead(width, hidden, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C) of a set of C candidates; PADDING marks places that hold none."""
        candidates, mask = self.embedding(batch)  # (B, C, W), (B, C)
        logits: Tensor = self.head(self.block(self.project(candidates), mask))
        return logits


def attention_loss(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over B lists of the cross entropy between softmax(logits / temperature) and the labels' shares, (B, C).

    A list without a positive label has no shares and adds nothing; the mean counts it all the same, so that processes
    with batches of one size may average their losses. Labels are 0 or more, of any grade.
    """
    total = labels.sum(dim=1, keepdim=True)  # (B, 1)
    shares = labels / torch.where(total > 0, total, 1)
    return -(shares * functional.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean()
