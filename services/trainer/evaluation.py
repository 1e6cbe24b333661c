"""AUC, LogLoss and GAUC of scored samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from services.trainer.networks import KnowledgeTables, logits, network_inputs
from services.trainer.samples import Samples

ROWS = 2048


def scores(network: nn.Module, samples: Samples, tables: KnowledgeTables) -> npt.NDArray[np.float64]:
    """(N,) probabilities of a positive label."""
    network.eval()
    pages = np.array_split(np.arange(len(samples)), max(1, len(samples) // ROWS))
    with torch.inference_mode():
        parts = [torch.sigmoid(logits(network, network_inputs(samples, page, tables))) for page in pages]
    return torch.cat(parts).double().numpy()


def metrics(samples: Samples, probability: npt.NDArray[np.float64]) -> dict[str, float]:
    """AUC, LogLoss (nats) and GAUC of `probability` (N,)."""
    return {
        "auc": float(roc_auc_score(samples.label, probability)),
        "logloss": float(log_loss(samples.label, probability)),
        "gauc": gauc(samples.user_id, samples.label, probability),
    }


def gauc(
    user_id: npt.NDArray[np.object_], label: npt.NDArray[np.float32], probability: npt.NDArray[np.float64]
) -> float:
    """Mean of each user's AUC, weighted by the user's impressions; users with labels of one kind have none.

    Raises ValueError when no user has both.
    """
    order = np.argsort(user_id, kind="stable")
    _, starts = np.unique(user_id[order], return_index=True)
    groups = [rows for rows in np.split(order, starts[1:]) if 0 < label[rows].sum() < len(rows)]
    if not groups:
        raise ValueError("GAUC needs a user with both a positive and a negative label")
    aucs = [roc_auc_score(label[rows], probability[rows]) for rows in groups]
    return float(np.average(aucs, weights=[len(rows) for rows in groups]))
