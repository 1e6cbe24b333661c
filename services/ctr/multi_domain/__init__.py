"""Networks of several domains on categorical features, by name. To add one: a file and a line here.

Network(spec: FeatureSpec, domains: int, **its own sizes with defaults, dropout: float = 0.0)
forward(batch: RankingBatch, domain: (B,) int64 in 0..domains-1) -> logits (B, C) float32

A sample is scored by its own domain's parts, so no other domain's head gets a gradient from it. Whatever belongs to one
domain stands in a ModuleList or ParameterList, at the domain's place: a network can grow by a domain, and the names of
all that was there before stay.
"""

from collections.abc import Callable

from torch import nn

from services.ctr.multi_domain.mmoe import MMoE
from services.ctr.multi_domain.pepnet import PEPNet
from services.ctr.multi_domain.ple import PLE
from services.ctr.multi_domain.shared_bottom import SharedBottom
from services.ctr.multi_domain.star import STAR

MULTI_DOMAIN: dict[str, Callable[..., nn.Module]] = {
    "shared-bottom": SharedBottom,
    "mmoe": MMoE,
    "ple": PLE,
    "star": STAR,
    "pepnet": PEPNet,
}
