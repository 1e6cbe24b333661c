"""A training run of a command, with its progress bars. Imported only when one runs: PyTorch and Feast take seconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import TaskID

from services.cli import output
from services.cli.output import BadInput, NotReady
from services.cli.progress import progress_bar
from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry
from services.trainer.data.datasets import Dataset
from services.trainer.data.knowledge_rows import KnowledgeNotLoaded
from services.trainer.data.samples import EmptySplit
from services.trainer.multi_domain.config import AnyConfig
from services.trainer.release.version import Report
from services.trainer.release.version import train as run_training
from services.trainer.training.config import InvalidConfig, TrainingConfig
from services.trainer.training.loop import Epoch, EpochProgress
from services.trainer.training.run import RunObserver

FEWEST_TEST_SAMPLES = 1000  # the standard error of an AUC of 0.7 is 0.016 then (Hanley and McNeil 1982)
METRICS = {
    "auc": "AUC",
    "logloss": "LogLoss",
    "gauc": "GAUC",
    **{f"{name}@{cut}": f"{title}@{cut}" for name, title in (("map", "MAP"), ("ndcg", "NDCG")) for cut in (1, 3, 5, 7)},
}


def train_version(
    settings: CliSettings,
    dataset: Dataset,
    config: TrainingConfig,
    tensorboard: Path | None = None,
    checkpoint_steps: int = 0,
    show: bool = True,
) -> Report:
    """Train and register the next version, with a progress bar. Raises BadInput, NotReady.

    A run that was broken off goes on from its checkpoints; they go when the version is registered.
    """
    registry, checkpoints = ModelRegistry(settings.model_registry), settings.checkpoint_directory
    with training_errors(), progress_observer(config, show) as observer:
        if tensorboard:
            from services.trainer.training.tensorboard import with_tensorboard

            observer = with_tensorboard(observer, tensorboard)
        report = run_training(
            dataset, settings.feature_directory, registry, config, observer, checkpoints, checkpoint_steps
        )
    shutil.rmtree(checkpoints, ignore_errors=True)
    return report


@contextmanager
def progress_observer(config: AnyConfig, show: bool = True) -> Iterator[RunObserver]:
    """Shows a bar for each network, in samples, with the metric that decides."""
    prefix = "knowledge " if isinstance(config, TrainingConfig) else ""
    with progress_bar(show) as bar:
        networks: dict[str, TaskID] = {}
        decided: dict[str, str] = {}

        def on_stage(text: str) -> None:
            networks.clear()
            if show:
                output.console.print(f"  {text}")

        def on_progress(name: str, at: EpochProgress) -> None:
            if name not in networks:
                networks[name] = bar.add_task("", total=at.total * config.epochs)
            text = f"{prefix}{name}{decided.get(name, '')}"
            bar.update(networks[name], completed=(at.epoch - 1) * at.total + at.done, description=text)

        def on_epoch(name: str, epoch: Epoch) -> None:
            metric = next(iter(epoch.validation))
            decided[name] = f", validation {metric} {epoch.validation[metric]:.4f}"

        yield RunObserver(on_stage, on_epoch, on_progress)


def print_report(report: Report) -> None:
    """The metrics with knowledge off and on, the difference, and whether there are too few samples to tell any."""
    rows = [
        (
            title,
            report.knowledge_off[name],
            report.knowledge_on[name],
            f"{report.knowledge_on[name] - report.knowledge_off[name]:+.4f}",
            report.knowledge_withheld[name],
        )
        for name, title in METRICS.items()
        if name in report.knowledge_on
    ]
    columns = ["test part", "knowledge off", "knowledge on", "difference", "on, but withheld"]
    title = f"Re-ranker {report.version} of model version {report.base_version}" if report.base_version else None
    output.print_table(title or f"Model version {report.version}", columns, rows)
    output.console.print(
        f"{report.training_samples} training, {report.validation_samples} validation and {report.test_samples} test "
        "samples, in this order of time; `withheld` is the network with knowledge, asked without",
        style="dim",
    )
    if report.test_samples < FEWEST_TEST_SAMPLES:
        told = f"fewer than {FEWEST_TEST_SAMPLES:,} test samples: the AUC is noise, another seed moves it more"
        output.console.print(told, style="yellow", soft_wrap=True)


@contextmanager
def training_errors() -> Iterator[None]:
    """What the trainer raises, as the commands' errors."""
    try:
        yield
    except (KnowledgeNotLoaded, EmptySplit) as error:
        raise NotReady(str(error)) from error
    except InvalidConfig as error:
        raise BadInput(f"--config: {error}") from error
