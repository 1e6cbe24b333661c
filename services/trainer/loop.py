"""The training loop.

loreline train --config din          through the command line, over .loreline
python -m services.trainer           as a job, settings from LORELINE_TRAINER_*
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from services.ctr.knowledge_augmented import hide_ids
from services.model_registry import UNKNOWN
from services.trainer.config import TrainingConfig
from services.trainer.evaluation import metrics, scores
from services.trainer.networks import KnowledgeTables, logits, network_inputs
from services.trainer.samples import Samples, Split


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean training loss (nats), and the validation part's metrics."""

    number: int
    loss: float
    validation: dict[str, float]


OnEpoch = Callable[[Epoch], None]


def fit(
    network: nn.Module, split: Split, tables: KnowledgeTables, config: TrainingConfig, on_epoch: OnEpoch
) -> list[Epoch]:
    """Train in place; the network ends with the weights of the epoch of the best validation AUC.

    AdamW on binary cross entropy, a cosine over all steps of all epochs, and an early stop on the validation part; the
    test part is never looked at.
    """
    steps = -(-len(split.training) // config.batch_size) * config.epochs
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    shuffle = np.random.default_rng(config.seed)
    epochs: list[Epoch] = []
    best = copy.deepcopy(network.state_dict())
    for number in range(1, config.epochs + 1):
        network.train()
        losses = [
            _step(network, split.training, rows, tables, config, optimizer, cosine)
            for rows in _batches(len(split.training), config.batch_size, shuffle)
        ]
        validation = metrics(split.validation, scores(network, split.validation, tables))
        epochs.append(Epoch(number, float(np.mean(losses)), validation))
        on_epoch(epochs[-1])
        if best_epoch(epochs).number == number:
            best = copy.deepcopy(network.state_dict())
        elif number - best_epoch(epochs).number >= config.patience:
            break
    network.load_state_dict(best)
    return epochs


def best_epoch(epochs: list[Epoch]) -> Epoch:
    """The epoch of the best validation AUC, the first of equals."""
    return max(epochs, key=lambda epoch: epoch.validation["auc"])


def _step(
    network: nn.Module,
    samples: Samples,
    rows: npt.NDArray[np.int64],
    tables: KnowledgeTables,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer,
    cosine: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    inputs = network_inputs(samples, rows, tables)
    batch = inputs.batch._replace(item_id=hide_ids(inputs.batch.item_id, config.id_dropout, UNKNOWN))
    scored = logits(network, inputs._replace(batch=batch))
    loss = functional.binary_cross_entropy_with_logits(scored, torch.from_numpy(samples.label[rows]))
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
    optimizer.step()
    cosine.step()
    return float(loss.detach())


def _batches(count: int, size: int, shuffle: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    order = shuffle.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]
