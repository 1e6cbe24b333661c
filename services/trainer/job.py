"""One training run as a process does it: alone, or as one of those that torchrun started."""

from __future__ import annotations

import os

import structlog
import torch
from torch import distributed

from services.model_registry import ModelRegistry, NoSuchVersion
from services.runtime.process_settings import refuse_to_start
from services.trainer.data.datasets import DATASETS, Dataset, DatasetSource, InvalidDataset, MultiDomainDataset
from services.trainer.data.datasets.dataset import newest_items
from services.trainer.data.knowledge_rows import KnowledgeNotLoaded
from services.trainer.data.samples import EmptySplit
from services.trainer.multi_domain.config import AnyConfig
from services.trainer.multi_domain.runs import DomainReport, train_domains
from services.trainer.release.version import Report, train
from services.trainer.settings import TrainerSettings
from services.trainer.training.config import InvalidConfig, TrainingConfig
from services.trainer.training.loop import Epoch
from services.trainer.training.run import RunObserver

log = structlog.get_logger(__name__)


def run(settings: TrainerSettings, config: AnyConfig) -> None:
    """Train and log the report. Exits with code 2 when the config or the stored data do not allow it."""
    first = _join_processes()
    try:
        dataset = DATASETS[settings.dataset](DatasetSource(settings.dataset_paths, settings.dataset_options))
        dataset = dataset.without_items({item.item_id for item in newest_items(dataset, settings.held_out_items)})
        report = _train(dataset, config, settings, _logger(settings) if first else RunObserver())
    except (InvalidConfig, KnowledgeNotLoaded, EmptySplit, InvalidDataset, NoSuchVersion, ValueError) as error:
        refuse_to_start(str(error))
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    if first:
        log.info("registered", **vars(report))


def _train(
    dataset: Dataset, config: AnyConfig, settings: TrainerSettings, observer: RunObserver
) -> Report | DomainReport:
    registry = ModelRegistry(settings.model_registry)
    if isinstance(config, TrainingConfig):
        checkpoints = (settings.checkpoint_directory, settings.checkpoint_steps)
        return train(dataset, settings.feature_directory, registry, config, observer, *checkpoints)
    if not isinstance(dataset, MultiDomainDataset):
        raise InvalidConfig(f"task: {config.task} needs the dataset multi-domain; {dataset.name} has one domain")
    if distributed.is_initialized():
        raise InvalidConfig(f"task: {config.task} is trained in one process")
    return train_domains(dataset, settings.feature_directory, registry, config, observer)


def _join_processes() -> bool:
    """Join the other processes if torchrun started this one; whether this is the first."""
    if "LOCAL_RANK" not in os.environ:
        return True
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if gpu else "gloo")
    return distributed.get_rank() == 0


def _logger(settings: TrainerSettings) -> RunObserver:
    if settings.tensorboard_directory is None:
        return RunObserver(_log_stage, _log_epoch)
    from services.trainer.training.tensorboard import with_tensorboard

    return with_tensorboard(RunObserver(_log_stage, _log_epoch), settings.tensorboard_directory)


def _log_stage(stage: str) -> None:
    log.info("stage", stage=stage)


def _log_epoch(network: str, epoch: Epoch) -> None:
    log.info(
        "epoch",
        knowledge=network,
        number=epoch.number,
        loss=epoch.loss,
        samples_per_second=round(epoch.samples_per_second),
        **epoch.validation,
    )
