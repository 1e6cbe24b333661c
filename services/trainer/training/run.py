"""The data of a run, the training of one network on it, and who is told how it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from services.ctr.knowledge_augmented import PreAdapted
from services.model_registry import Manifest, Vocabulary
from services.scenarios import load_scenario
from services.trainer.data import samples as sampling
from services.trainer.data.datasets import Dataset
from services.trainer.data.interaction_log import InteractionLog, interaction_log
from services.trainer.data.knowledge_rows import AskedKnowledge, StoredVectors
from services.trainer.data.list_samples import list_samples
from services.trainer.data.offline_store import asked_knowledge, stored_vectors
from services.trainer.data.samples import ItemTable, Samples, Split
from services.trainer.training.batches import BatchBuilder, KnowledgeTables, knowledge_table
from services.trainer.training.checkpoint import Checkpoint
from services.trainer.training.config import TrainingConfig
from services.trainer.training.loop import Epoch, EpochProgress, fit, process_rank
from services.trainer.training.networks import build_backbone, build_knowledge_augmented
from services.trainer.training.objectives import Objective, objective_of

OnStage = Callable[[str], None]
OnEpoch = Callable[[str, Epoch], None]
OnProgress = Callable[[str, EpochProgress], None]


@dataclass(frozen=True)
class TrainingData:
    """What the networks of a run are trained on. With a `base`, the tables hold vectors that its adaptor has made."""

    scenario: str
    log: InteractionLog
    items: ItemTable
    vocabulary: Vocabulary
    split: Split
    tables: KnowledgeTables
    objective: Objective
    encoder: str
    asked: AskedKnowledge
    log_hash: str
    data_hash: str
    base: Manifest | None = None

    def batches(self, history_length: int, place: torch.device | None = None) -> BatchBuilder:
        """Where batches are made: at `place`, or on the GPU if there is one."""
        return BatchBuilder(self.log, self.items, self.tables, history_length, place or device())


@dataclass(frozen=True)
class RunObserver:
    """Who is told how a run goes on; networks are named `off` and `on`, for knowledge."""

    stage: OnStage = lambda _: None
    epoch: OnEpoch = lambda *_: None
    progress: OnProgress = lambda *_: None


SILENT = RunObserver()


def gather(dataset: Dataset, directory: Path, config: TrainingConfig) -> TrainingData:
    """Samples, split by the config's protocol, and the knowledge of their items and users."""
    items, users = stored_vectors(directory, "item_knowledge"), stored_vectors(directory, "user_knowledge")
    log, user_ids = interaction_log(dataset)
    if config.memory_map:
        log.save(directory / "interaction_log")
        log = InteractionLog.map(directory / "interaction_log")
    split = sampling.split(log, _samples(dataset, log, config), config.protocol, config.split_seed)
    vocabulary = sampling.vocabulary_of(dataset, log, split.training, config.protocol)
    tables = KnowledgeTables(
        knowledge_table(items.vectors),
        knowledge_table(users.vectors),
        _rows(items, list(dataset.items)),
        _rows(users, user_ids),
    )
    log_hash = dataset.content_hash()
    return TrainingData(
        scenario=dataset.scenario,
        log=log,
        items=ItemTable.of(dataset, vocabulary),
        vocabulary=vocabulary,
        split=split,
        tables=tables,
        objective=objective_of(config, log),
        encoder=items.encoder,
        asked=asked_knowledge(directory),
        log_hash=log_hash,
        data_hash=_data_hash(log_hash, items, users),
    )


def train_network(
    data: TrainingData,
    config: TrainingConfig,
    augmented: bool,
    checkpoint: Checkpoint | None = None,
    name: str = "",
    observer: RunObserver = RunObserver(),
) -> tuple[nn.Module, list[Epoch]]:
    """The trained backbone, with adaptor and knowledge if `augmented`, and its epochs."""
    scenario = load_scenario(data.scenario)
    torch.manual_seed(config.seed)
    network: nn.Module
    if augmented and data.base:
        backbone = build_backbone(config, data.vocabulary, scenario, augmented=True)
        network = PreAdapted(backbone, config.knowledge_dropout)
    elif augmented:
        network = build_knowledge_augmented(config, data.vocabulary, scenario, data.tables.width)
    else:
        network = build_backbone(config, data.vocabulary, scenario, augmented=False)
    torch.manual_seed(config.seed + process_rank())
    epochs = fit(
        network,
        data.split,
        data.batches(config.history_length),
        config,
        data.objective,
        checkpoint,
        lambda epoch: observer.epoch(name, epoch),
        lambda progress: observer.progress(name, progress),
    )
    return network, epochs


def run_name(config: TrainingConfig, data: TrainingData, augmented: bool) -> str:
    """A hash of all that decides what a run comes to: config and log, and the knowledge where it is used."""
    read = data.data_hash if augmented else data.log_hash
    return hashlib.sha256(f"{config.model_dump_json(exclude_defaults=True)} {read} {augmented}".encode()).hexdigest()


def device() -> torch.device:
    """The GPU of this process, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _rows(stored: StoredVectors, ids: list[str]) -> npt.NDArray[np.int64]:
    """(N,) rows of ids in the knowledge table, 0 where there is none."""
    return pd.Index(stored.subject_ids).get_indexer(pd.Index(ids)).astype(np.int64) + 1


def _samples(dataset: Dataset, log: InteractionLog, config: TrainingConfig) -> Samples:
    if config.task == "click-through":
        return sampling.impressions(log)
    return list_samples(log, len(dataset.items), config.split_seed)


def _data_hash(log_hash: str, *stored: StoredVectors) -> str:
    digest = hashlib.sha256(log_hash.encode())
    for vectors in stored:
        digest.update(pd.util.hash_array(np.array(vectors.subject_ids, dtype=object)).tobytes())
        digest.update(vectors.vectors.tobytes())
    return digest.hexdigest()
