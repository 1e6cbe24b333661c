"""The training loop over several domains: AdamW, a warm-up and a cosine, an early stop on the validation parts."""

from __future__ import annotations

import copy
import math
import time

import numpy as np
import torch
from torch import nn

from services.trainer.data.samples import Samples
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.evaluation import DECIDES, domain_metrics, mean_auc
from services.trainer.multi_domain.learners import Learner, scores
from services.trainer.training.loop import Epoch, EpochProgress, best_epoch, finished, precision
from services.trainer.training.run import SILENT, RunObserver


def fit(
    learner: Learner,
    data: DomainData,
    training: Samples,
    validation: Samples,
    config: MultiDomainConfig,
    name: str = "",
    observer: RunObserver = SILENT,
) -> list[Epoch]:
    """Train in place, and tell the observer under a name.

    The network ends with the weights of the epoch whose mean validation AUC was best. What does not require a gradient
    stays as it is. The test part is never looked at.
    """
    steps = -(-len(training) // config.batch_size)
    optimizer = _optimizer(learner, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / (steps * config.epochs), config))
    epochs: list[Epoch] = []
    best = copy.deepcopy(learner.network.state_dict())
    while not finished(epochs, config, DECIDES):
        number, started, loss, done = len(epochs) + 1, time.perf_counter(), 0.0, 0
        learner.network.train()
        for chosen in learner.batches(training, config.batch_size, np.random.default_rng([config.seed, number])):
            loss += _step(learner, training, chosen, config, optimizer) * len(chosen)
            schedule.step()
            done += len(chosen)
            observer.progress(name, EpochProgress(number, done, len(training), done / (time.perf_counter() - started)))
        rate = len(training) / (time.perf_counter() - started)
        found = domain_metrics(data, validation, scores(learner, validation))
        epochs.append(Epoch(number, loss / len(training), {DECIDES: mean_auc(found)}, rate))
        observer.epoch(name, epochs[-1])
        if best_epoch(epochs, DECIDES).number == number:
            best = copy.deepcopy(learner.network.state_dict())
    learner.network.load_state_dict(best)
    return epochs


def _optimizer(learner: Learner, config: MultiDomainConfig) -> torch.optim.Optimizer:
    rates = (config.learning_rate, config.language_model_rate)
    groups = [{"params": group, "lr": rate} for group, rate in zip(learner.groups(), rates, strict=True) if group]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _rate(share: float, config: MultiDomainConfig) -> float:
    """The factor of the rates after a share of all steps."""
    if share < config.warm_up:
        return max(share, 1e-3) / config.warm_up
    fallen = (share - config.warm_up) / max(1 - config.warm_up, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(fallen, 1.0)))


def _step(
    learner: Learner,
    samples: Samples,
    chosen: np.ndarray[tuple[int], np.dtype[np.int64]],
    config: MultiDomainConfig,
    optimizer: torch.optim.Optimizer,
) -> float:
    device = next(learner.network.parameters()).device
    with precision(config, device):
        loss = learner.loss(samples, chosen)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(trained, config.gradient_norm)
    optimizer.step()
    return float(loss.detach())
