"""What scores are worth: AUC, LogLoss, GAUC and RelaImpr of samples, MAP and NDCG of lists."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, roc_auc_score

CUTS = (1, 3, 5, 7)
Floats = npt.NDArray[np.float64]


def metrics(user: npt.NDArray[np.int64], label: npt.NDArray[np.float32], probability: Floats) -> dict[str, float]:
    """AUC, LogLoss (nats) and, where it is defined, GAUC of N samples, (N,) each."""
    found = {"auc": float(roc_auc_score(label, probability)), "logloss": float(log_loss(label, probability))}
    by_user = gauc(user, label, probability)
    return found if by_user is None else found | {"gauc": by_user}


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


def gauc(user: npt.NDArray[np.int64], label: npt.NDArray[np.float32], probability: Floats) -> float | None:
    """Mean of each user's AUC, weighted by the user's impressions; users with labels of one kind have none.

    None where no user has both: then it is not defined.
    """
    order = np.argsort(user, kind="stable")
    _, starts = np.unique(user[order], return_index=True)
    groups = [rows for rows in np.split(order, starts[1:]) if 0 < label[rows].sum() < len(rows)]
    if not groups:
        return None
    aucs = [roc_auc_score(label[rows], probability[rows]) for rows in groups]
    return float(np.average(aucs, weights=[len(rows) for rows in groups]))


def list_metrics(label: npt.NDArray[np.float32], score: Floats) -> dict[str, Floats]:
    """MAP, NDCG and clicks at 1, 3, 5 and 7 of every list: (N,) each of labels and scores (N, C).

    Of a list without a positive candidate MAP and NDCG are NaN: no order of it is better than another. MAP@k divides by
    the positives that k places can hold; clicks@k counts the positives among the first k. Ties keep the given order.
    """
    ranked = np.take_along_axis(label, np.argsort(-score, axis=1, kind="stable"), axis=1).astype(np.float64)
    positives, places = ranked.sum(axis=1), np.arange(1, label.shape[1] + 1)
    precision = np.cumsum(ranked, axis=1) / places
    gain = 1 / np.log2(places + 1)
    found = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for cut in CUTS:
            held = np.minimum(positives, cut)
            ideal = np.where(places[:cut] <= held[:, None], gain[:cut], 0.0).sum(axis=1)
            found[f"map@{cut}"] = (precision * ranked)[:, :cut].sum(axis=1) / held
            found[f"ndcg@{cut}"] = (ranked * gain)[:, :cut].sum(axis=1) / ideal
            found[f"clicks@{cut}"] = ranked[:, :cut].sum(axis=1)
    return found
