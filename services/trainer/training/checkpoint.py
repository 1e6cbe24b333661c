"""A training run's state on disk, so that an interrupted run ends exactly where it would have ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LRScheduler = torch.optim.lr_scheduler.LRScheduler


@dataclass
class TrainingState:
    """What a run knows beside the states of its network and optimiser.

    `epochs` are the finished ones' values by name; `step` and `loss` (nats, summed over samples) belong to the epoch at
    hand.
    """

    best: dict[str, Tensor]
    epochs: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    loss: float = 0.0

    def finish_epoch(self, epoch: dict[str, Any]) -> None:
        """Note a finished epoch; the next one begins."""
        self.epochs.append(epoch)
        self.step, self.loss = 0, 0.0


@dataclass(frozen=True)
class Checkpoint:
    """One file, replaced as a whole after every epoch and, if `every_steps` is above 0, after so many steps.

    The file's name has to name the run: its config, data and network.
    """

    path: Path
    every_steps: int = 0

    def is_due(self, step: int) -> bool:
        """Whether the state is written after this step of an epoch."""
        return self.every_steps > 0 and step % self.every_steps == 0

    def save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, schedule: LRScheduler, state: TrainingState
    ) -> None:
        """Write all that decides what comes next, the random generators of all processes included.

        The first process writes; all of a distributed run must call this.
        """
        generators = _generators()
        if _rank() > 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "state": vars(state),
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "random": generators,
        }
        written = self.path.with_suffix(".part")
        torch.save(document, written)
        written.replace(self.path)

    def restore(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, schedule: LRScheduler, state: TrainingState
    ) -> None:
        """Set everything to what was saved; does nothing where nothing was."""
        if not self.path.exists():
            return
        document = torch.load(self.path, weights_only=True, map_location="cpu")
        network.load_state_dict(document["network"])
        optimizer.load_state_dict(document["optimizer"])
        schedule.load_state_dict(document["schedule"])
        vars(state).update(document["state"])
        generators = document["random"]
        if len(generators) != _processes():  # another number of processes draws other numbers in any case
            return
        own, gpu = generators[_rank()]
        torch.set_rng_state(own)
        if gpu is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(gpu)


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _processes() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _generators() -> list[tuple[Tensor, Tensor | None]]:
    """The state of each process' generator, and of that of its GPU, in the processes' order."""
    own = torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    found: list[Any] = [own]
    if _processes() > 1:
        found = [None] * _processes()
        torch.distributed.all_gather_object(found, own)
    return found
