"""Layers that several backbones share."""

from services.ctr.layers.attention import TargetAttention
from services.ctr.layers.dice import Dice
from services.ctr.layers.mlp import MLP, initialise

__all__ = ["MLP", "Dice", "TargetAttention", "initialise"]
