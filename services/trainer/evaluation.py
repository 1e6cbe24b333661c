"""AUC, LogLoss, GAUC and RelaImpr of scored samples, over all of them and over slices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from services.trainer.networks import Lookup, logits
from services.trainer.samples import Samples

ROWS = 4096
Floats = npt.NDArray[np.float64]


def scores(network: nn.Module, samples: Samples, lookup: Lookup) -> Floats:
    """(N, C) probabilities of a positive label."""
    network.eval()
    pages = np.array_split(np.arange(len(samples)), -(-len(samples) // ROWS))
    with torch.inference_mode():
        parts = [torch.sigmoid(logits(network, lookup.inputs(samples, page)).float()).cpu() for page in pages]
    return torch.cat(parts).double().numpy()


def metrics(user: npt.NDArray[np.int64], label: npt.NDArray[np.float32], probability: Floats) -> dict[str, float]:
    """AUC, LogLoss (nats) and GAUC of N samples, (N,) each."""
    return {
        "auc": float(roc_auc_score(label, probability)),
        "logloss": float(log_loss(label, probability)),
        "gauc": gauc(user, label, probability),
    }


def sliced(
    label: npt.NDArray[np.float32],
    probability: Floats,
    slices: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, dict[str, float]]:
    """AUC, LogLoss and `samples` of each slice (N,); one without both labels has the number of samples alone."""
    found = {}
    for name, chosen in slices.items():
        counted = {"samples": float(chosen.sum())}
        if len(np.unique(label[chosen])) == 2:
            counted["auc"] = float(roc_auc_score(label[chosen], probability[chosen]))
            counted["logloss"] = float(log_loss(label[chosen], probability[chosen]))
        found[name] = counted
    return found


def relative_improvement(auc: float, base_auc: float) -> float:
    """RelaImpr: how much more of what lies above chance, (auc - 0.5) / (base - 0.5) - 1. Raises ValueError at 0.5."""
    if base_auc == 0.5:
        raise ValueError("RelaImpr needs a base AUC other than 0.5")
    return (auc - 0.5) / (base_auc - 0.5) - 1


def gauc(user: npt.NDArray[np.int64], label: npt.NDArray[np.float32], probability: Floats) -> float:
    """Mean of each user's AUC, weighted by the user's impressions; users with labels of one kind have none.

    Raises ValueError when no user has both.
    """
    order = np.argsort(user, kind="stable")
    _, starts = np.unique(user[order], return_index=True)
    groups = [rows for rows in np.split(order, starts[1:]) if 0 < label[rows].sum() < len(rows)]
    if not groups:
        raise ValueError("GAUC needs a user with both a positive and a negative label")
    aucs = [roc_auc_score(label[rows], probability[rows]) for rows in groups]
    return float(np.average(aucs, weights=[len(rows) for rows in groups]))
