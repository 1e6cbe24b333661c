"""The training job: one run over the offline store, registered as the next version. It promotes nothing.

Started by torchrun, its processes share each batch; the first one reports and registers.
"""

from __future__ import annotations

import os

import structlog
import torch
from torch import distributed

from services.model_registry import ModelRegistry
from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings, refuse_to_start
from services.trainer.config import InvalidConfig, read_config
from services.trainer.datasets import DATASETS, DatasetSource, InvalidDataset
from services.trainer.datasets.dataset import newest_items
from services.trainer.loop import Epoch
from services.trainer.offline_store import KnowledgeNotLoaded
from services.trainer.samples import EmptySplit
from services.trainer.settings import TrainerSettings
from services.trainer.training import Watcher, train

log = structlog.get_logger(__name__)


def main() -> None:
    """Read settings, train, log the report. Ends with code 2 when the settings or the stored data do not allow it."""
    settings = read_settings(TrainerSettings)
    configure_logs("trainer", settings.log_level)
    if settings.dataset not in DATASETS:
        refuse_to_start(f"LORELINE_TRAINER_DATASET: must be one of {', '.join(DATASETS)}; is {settings.dataset!r}")
    first = _join_processes()
    try:
        config = read_config(settings.config)
        dataset = DATASETS[settings.dataset](DatasetSource(settings.dataset_paths, settings.dataset_options))
        dataset = dataset.without_items({item.item_id for item in newest_items(dataset, settings.held_out_items)})
        report = train(
            dataset,
            settings.feature_directory,
            ModelRegistry(settings.model_registry),
            config,
            _logger(settings) if first else Watcher(),
            settings.checkpoint_directory,
            settings.checkpoint_steps,
        )
    except (InvalidConfig, KnowledgeNotLoaded, EmptySplit, InvalidDataset, ValueError) as error:
        refuse_to_start(str(error))
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    if first:
        log.info("registered", **vars(report))


def _join_processes() -> bool:
    """Join the other processes if torchrun started this one; whether this is the first."""
    if "LOCAL_RANK" not in os.environ:
        return True
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if gpu else "gloo")
    return distributed.get_rank() == 0


def _logger(settings: TrainerSettings) -> Watcher:
    if settings.tensorboard_directory is None:
        return Watcher(_log_stage, _log_epoch)
    from services.trainer.tensorboard import with_tensorboard

    return with_tensorboard(Watcher(_log_stage, _log_epoch), settings.tensorboard_directory)


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


if __name__ == "__main__":
    main()
