"""Re-rankers by name. To add one: a file with a module of this constructor and forward, and a line here.

Reranker(spec: FeatureSpec, **its own sizes with defaults, dropout: float = 0.0)
forward(batch: RankingBatch) -> logits (B, C) float32, where the C candidates are one list
"""

from collections.abc import Callable

from torch import nn

from services.ctr.rerankers.dlcm import DLCM
from services.ctr.rerankers.mir import MIR
from services.ctr.rerankers.prm import PRM
from services.ctr.rerankers.setrank import SetRank, attention_loss

RERANKERS: dict[str, Callable[..., nn.Module]] = {
    "dlcm": DLCM,
    "prm": PRM,
    "setrank": SetRank,
    "mir": MIR,
}

__all__ = ["RERANKERS", "attention_loss"]
