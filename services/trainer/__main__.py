"""The training job: one run over the offline store, registered as the next version. It promotes nothing."""

from __future__ import annotations

import structlog

from services.model_registry import ModelRegistry
from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings, refuse_to_start
from services.trainer.config import InvalidConfig, read_config
from services.trainer.datasets import DATASETS
from services.trainer.datasets.dataset import newest_items
from services.trainer.loop import Epoch
from services.trainer.offline_store import KnowledgeNotLoaded
from services.trainer.samples import EmptySplit
from services.trainer.settings import TrainerSettings
from services.trainer.training import train

log = structlog.get_logger(__name__)


def main() -> None:
    """Read settings, train, log the report. Ends with code 2 when the settings or the stored data do not allow it."""
    settings = read_settings(TrainerSettings)
    configure_logs("trainer", settings.log_level)
    if settings.dataset not in DATASETS:
        refuse_to_start(f"LORELINE_TRAINER_DATASET: must be one of {', '.join(DATASETS)}; is {settings.dataset!r}")
    try:
        config = read_config(settings.config)
        dataset = DATASETS[settings.dataset]()
        dataset = dataset.without_items({item.item_id for item in newest_items(dataset, settings.held_out_items)})
        registry = ModelRegistry(settings.model_registry)
        report = train(dataset, settings.feature_directory, registry, config, _log_stage, _log_epoch)
    except (InvalidConfig, KnowledgeNotLoaded, EmptySplit, ValueError) as error:
        refuse_to_start(str(error))
    log.info("registered", **vars(report))


def _log_stage(stage: str) -> None:
    log.info("stage", stage=stage)


def _log_epoch(network: str, epoch: Epoch) -> None:
    log.info("epoch", knowledge=network, number=epoch.number, loss=epoch.loss, **epoch.validation)


if __name__ == "__main__":
    main()
