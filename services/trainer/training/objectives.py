"""What networks are trained for: clicks of single candidates, or the order of whole lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from services.ctr.rerankers import attention_loss
from services.trainer.data.interaction_log import InteractionLog
from services.trainer.data.samples import Samples
from services.trainer.evaluation.metrics import list_metrics, metrics
from services.trainer.evaluation.significance import RankedScores
from services.trainer.training.config import TrainingConfig

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """What a network is trained for.

    `loss` takes logits and labels (B, C) to the mean over the B samples; `measure` takes samples and their scores
    (N, C) to metrics by name, of which `decides` must rise for the training to go on. `weighted` makes a function of
    sample weights (N,) to that metric, for a bootstrap.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[Samples, Floats], dict[str, float]]
    decides: str
    weighted: Callable[[Samples, Floats], Callable[[Floats], float]]


def objective_of(config: TrainingConfig, log: InteractionLog) -> Objective:
    """Binary cross entropy and AUC for click-through; MAP@5 for re-ranking, with the config's loss."""
    if config.task == "click-through":
        return Objective(
            functional.binary_cross_entropy_with_logits, partial(_clicks_measured, log), "auc", _weighted_auc
        )
    return Objective(_list_loss(config), _lists_measured, "map@5", _weighted_map)


def _clicks_measured(log: InteractionLog, samples: Samples, probability: Floats) -> dict[str, float]:
    return metrics(log.user[samples.row], samples.label[:, 0], probability[:, 0])


def _weighted_auc(samples: Samples, probability: Floats) -> Callable[[Floats], float]:
    return RankedScores(samples.label[:, 0], probability[:, 0]).auc


def _lists_measured(samples: Samples, score: Floats) -> dict[str, float]:
    return {name: float(np.nanmean(values)) for name, values in list_metrics(samples.label, score).items()}


def _list_loss(config: TrainingConfig) -> Callable[[Tensor, Tensor], Tensor]:
    if config.list_loss == "cross-entropy":
        return functional.binary_cross_entropy_with_logits
    return partial(attention_loss, temperature=config.temperature)


def _weighted_map(samples: Samples, score: Floats) -> Callable[[Floats], float]:
    values = list_metrics(samples.label, score)["map@5"]
    there = ~np.isnan(values)
    return lambda weight: float(np.average(values[there], weights=weight[there]))
