"""Backbones by name. To add one: a file with a module of this constructor and forward, and a line here.

Backbone(spec: FeatureSpec, **its own sizes with defaults)
forward(batch: RankingBatch) -> logits (B, C) float32
"""

from torch import nn

from services.ctr.backbones.din import DIN

BACKBONES: dict[str, type[nn.Module]] = {
    "din": DIN,
}
