"""Writes a run's metrics where TensorBoard reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from services.trainer.training.loop import Epoch
from services.trainer.training.run import RunObserver


def with_tensorboard(observer: RunObserver, folder: Path) -> RunObserver:
    """The observer, which now also writes loss (nats), validation metrics and samples/s of each epoch, by network."""
    writers: dict[str, SummaryWriter] = {}

    def epoch(name: str, finished: Epoch) -> None:
        observer.epoch(name, finished)
        writer = writers.setdefault(name, SummaryWriter(str(folder / f"knowledge-{name}")))
        writer.add_scalar("training/loss", finished.loss, finished.number)
        writer.add_scalar("training/samples_per_second", finished.samples_per_second, finished.number)
        for metric, value in finished.validation.items():
            writer.add_scalar(f"validation/{metric}", value, finished.number)
        writer.flush()

    return replace(observer, epoch=epoch)
