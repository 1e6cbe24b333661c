"""Backbones by name. To add one: a file with a module of this constructor and forward, and a line here.

Backbone(spec: FeatureSpec, **its own sizes with defaults, dropout: float = 0.0)
forward(batch: RankingBatch) -> logits (B, C) float32
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from services.ctr.backbones.autoint import AutoInt
from services.ctr.backbones.dcn import DCN, DCNv2
from services.ctr.backbones.deepfm import DeepFM
from services.ctr.backbones.dien import DIEN
from services.ctr.backbones.din import DIN
from services.ctr.backbones.dnn import DNN
from services.ctr.backbones.fibinet import FiBiNET
from services.ctr.backbones.fignn import FiGNN
from services.ctr.backbones.xdeepfm import XDeepFM

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "din": DIN,
    "dien": DIEN,
    "dien-gru": partial(DIEN, gate="gru"),
    "dien-agru": partial(DIEN, gate="agru"),
    "dien-augru": partial(DIEN, gate="augru"),
    "dnn": DNN,
    "dcn": DCN,
    "dcnv2": DCNv2,
    "deepfm": DeepFM,
    "xdeepfm": XDeepFM,
    "autoint": AutoInt,
    "fibinet": FiBiNET,
    "fignn": FiGNN,
}
