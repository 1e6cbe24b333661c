"""The training loop.

loreline train --config din                          through the command line, over .loreline
python -m services.trainer                           as a job, settings from LORELINE_TRAINER_*
torchrun --nproc-per-node 2 -m services.trainer      the same in two processes
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from services.ctr.knowledge_augmented import hide_ids
from services.model_registry import UNKNOWN
from services.trainer.data.samples import Samples, Split
from services.trainer.training.batches import BatchBuilder
from services.trainer.training.checkpoint import Checkpoint, TrainingState
from services.trainer.training.config import TrainingConfig
from services.trainer.training.networks import logits, scores
from services.trainer.training.objectives import Objective


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean training loss (nats), metrics of the validation part, training samples/s."""

    number: int
    loss: float
    validation: dict[str, float]
    samples_per_second: float


@dataclass(frozen=True)
class EpochProgress:
    """Where an epoch stands, in samples of all processes together."""

    epoch: int
    done: int
    total: int
    samples_per_second: float


class Stopping(Protocol):
    """How long a config trains, in epochs."""

    @property
    def epochs(self) -> int:
        """At most."""

    @property
    def patience(self) -> int:
        """Without a better validation."""


class Precise(Protocol):
    """A config that says in which numbers it trains."""

    @property
    def precision(self) -> str:
        """`auto`, `float32` or `bfloat16`."""


OnEpoch = Callable[[Epoch], None]
OnProgress = Callable[[EpochProgress], None]


def fit(
    network: nn.Module,
    split: Split,
    batches: BatchBuilder,
    config: TrainingConfig,
    objective: Objective,
    checkpoint: Checkpoint | None = None,
    on_epoch: OnEpoch = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> list[Epoch]:
    """Train in place; the network ends with the weights of the epoch whose validation was best.

    AdamW with gradient clipping, a cosine over the real steps of all epochs, and an early stop on the validation part
    alone: the test part is never looked at. A run that finds its checkpoint goes on from there, and ends exactly where
    it would have ended without the interruption.
    """
    network.to(batches.device)
    samples, steps = split.training, -(-len(split.training) // config.batch_size)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps * config.epochs)
    state = TrainingState(best=copy.deepcopy(network.state_dict()))
    if checkpoint:
        checkpoint.restore(network, optimizer, cosine, state)
    parallel = _prepare(network, config)
    epochs = [Epoch(**epoch) for epoch in state.epochs]
    while not finished(epochs, config, objective.decides):
        number, started, done_before = len(epochs) + 1, time.perf_counter(), state.step
        order = np.random.default_rng([config.seed, number]).permutation(len(samples))
        network.train()
        while state.step < steps:
            chosen = order[state.step * config.batch_size : (state.step + 1) * config.batch_size]
            state.step += 1
            state.loss += _step(parallel, samples, chosen, batches, config, objective, optimizer)
            cosine.step()
            rate = (state.step - done_before) * config.batch_size / (time.perf_counter() - started)
            on_progress(EpochProgress(number, min(state.step * config.batch_size, len(samples)), len(samples), rate))
            if checkpoint and checkpoint.is_due(state.step):
                checkpoint.save(network, optimizer, cosine, state)
        rate = (steps - done_before) * config.batch_size / (time.perf_counter() - started)
        validation = objective.measure(split.validation, scores(network, split.validation, batches))
        epochs.append(Epoch(number, state.loss / len(samples), validation, rate))
        on_epoch(epochs[-1])
        state.finish_epoch(vars(epochs[-1]))
        if best_epoch(epochs, objective.decides).number == number:
            state.best = copy.deepcopy(network.state_dict())
        if checkpoint:
            checkpoint.save(network, optimizer, cosine, state)
    network.load_state_dict(state.best)
    return epochs


def best_epoch(epochs: list[Epoch], decides: str) -> Epoch:
    """The epoch of the best validation, the first of equals."""
    return max(epochs, key=lambda epoch: epoch.validation[decides])


def process_rank() -> int:
    """The place of this process among those that torchrun started; 0 alone writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def finished(epochs: list[Epoch], config: Stopping, decides: str) -> bool:
    """Whether a run ends here: no epoch is left, or the validation got no better for as many as it is given."""
    if not epochs:
        return False
    return len(epochs) >= config.epochs or len(epochs) - best_epoch(epochs, decides).number >= config.patience


def _prepare(network: nn.Module, config: TrainingConfig) -> nn.Module:
    if config.compile:
        network.compile()
    return DistributedDataParallel(network) if distributed.is_initialized() else network


def _step(
    network: nn.Module,
    samples: Samples,
    chosen: npt.NDArray[np.int64],
    batches: BatchBuilder,
    config: TrainingConfig,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
) -> float:
    """One step on this process' share of a batch; returns the sum of the whole batch's losses."""
    processes = distributed.get_world_size() if distributed.is_initialized() else 1
    share, counted = chosen[process_rank() :: processes], 1.0
    if not len(share):  # of a last batch that is smaller than the number of processes: all must take the step
        share, counted = chosen[:1], 0.0
    inputs = batches.inputs(samples, share)
    batch = inputs.batch._replace(item_id=hide_ids(inputs.batch.item_id, config.id_dropout, UNKNOWN))
    with precision(config, batches.device):
        scored = logits(network, inputs._replace(batch=batch))
    loss = objective.loss(scored.float(), batches.labels(samples, share)) * len(share) * counted
    optimizer.zero_grad()
    torch.autograd.backward(loss * processes / len(chosen))  # gradients are averaged over the processes
    nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
    optimizer.step()
    total = loss.detach()
    if processes > 1:
        distributed.all_reduce(total)
    return float(total)


def precision(config: Precise, device: torch.device) -> AbstractContextManager[None]:
    """Within it a network runs in bfloat16, where the config says so, or leaves it open and there is a GPU."""
    if config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)  # type: ignore[return-value]
    return nullcontext()
