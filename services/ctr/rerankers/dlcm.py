"""Deep Listwise Context Model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import ListGRU, initialise
from services.ctr.rerankers.list_embedding import ListEmbedding


class DLCM(nn.Module):
    """A GRU reads the list; each of its states is judged against the last one, the list's context.

    o_c = states of the GRU over x, s = its last state; phi(o_c, s) = BatchNorm([o_c, tanh(W s) * o_c]), then a layer to
    two classes; the logit is the difference of the two, so that its sigmoid equals their softmax.
    x = [candidate, mean history, augmented item, augmented user]. Train it on lists without padding, which would enter
    the statistics of the BatchNorm; padding changes no score in evaluation. Source: DLCM, arXiv 1804.05936, section 4,
    with the head of KAR's experiments and their width of 64.
    """

    def __init__(self, spec: FeatureSpec, width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = ListEmbedding(spec)
        self.reader = ListGRU(self.embedding.width, width)
        self.context = nn.Linear(width, width)
        self.normalise = nn.BatchNorm1d(2 * width)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(2 * width, 2)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C) of a list of C candidates; PADDING marks places at the end that hold none."""
        candidates, mask = self.embedding(batch)  # (B, C, W), (B, C)
        states = self.reader(candidates)  # (B, C, H)
        last = (mask.sum(dim=1) - 1).clamp(min=0).long()[:, None, None].expand(-1, 1, states.shape[-1])
        judged = torch.tanh(self.context(states.gather(1, last))) * states
        pairs = torch.cat([states, judged], dim=-1)  # (B, C, 2 H)
        normal = self.normalise(pairs.flatten(0, 1)).view_as(pairs)
        classes: Tensor = self.classes(self.dropout(normal))  # (B, C, 2)
        return classes[..., 1] - classes[..., 0]
