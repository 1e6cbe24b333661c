"""AUC and LogLoss of each domain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from services.trainer.data.samples import Samples
from services.trainer.evaluation.metrics import sliced
from services.trainer.multi_domain.domain_data import DomainData

DECIDES = "mean auc"
Floats = npt.NDArray[np.float64]
DomainMetrics = dict[str, dict[str, float]]


def domain_metrics(data: DomainData, samples: Samples, logits: Floats) -> DomainMetrics:
    """AUC, LogLoss (nats) and `samples` of each domain that has samples (N,)."""
    domain = data.domain_of(samples)
    present = {name: domain == code for code, name in enumerate(data.domains) if (domain == code).any()}
    return sliced(samples.label[:, 0], probability(logits), present)


def mean_auc(found: Mapping[str, Mapping[str, float]]) -> float:
    """The mean over the domains, each counted once."""
    return float(np.mean([metrics["auc"] for metrics in found.values() if "auc" in metrics]))


def probability(logits: Floats) -> Floats:
    """The sigmoid, without overflow."""
    found: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return found
