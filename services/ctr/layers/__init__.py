"""Layers that several networks share."""

from services.ctr.layers.attention import SelfAttention, SelfAttentionBlock, TargetAttention
from services.ctr.layers.crossing import CompressedInteraction, MatrixCross, VectorCross, factorisation_machine
from services.ctr.layers.dice import Dice
from services.ctr.layers.gru import AttentionalGRU, EvolutionGate, ListGRU
from services.ctr.layers.mlp import MLP, LogitHead, initialise, masked_mean

__all__ = [
    "MLP",
    "AttentionalGRU",
    "CompressedInteraction",
    "Dice",
    "EvolutionGate",
    "ListGRU",
    "LogitHead",
    "MatrixCross",
    "SelfAttention",
    "SelfAttentionBlock",
    "TargetAttention",
    "VectorCross",
    "factorisation_machine",
    "initialise",
    "masked_mean",
]
