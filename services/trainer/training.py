"""One whole run: samples, the backbone without and with knowledge, export, registration."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from services.ctr.knowledge_augmented import KnowledgeAugmented, PreAdapted
from services.model_registry import GOLDEN_FILE, Manifest, ModelRegistry, Vocabulary
from services.scenarios import load_scenario
from services.trainer import samples as sampling
from services.trainer.bound_reranker import bound_to_active, register_reranker
from services.trainer.checkpoint import Checkpoint
from services.trainer.columns import Columns, columns_of
from services.trainer.config import TrainingConfig
from services.trainer.datasets import Dataset
from services.trainer.evaluation import scores
from services.trainer.export import export
from services.trainer.golden_requests import golden_set
from services.trainer.loop import Epoch, Progress, fit, process_rank
from services.trainer.networks import (
    KnowledgeTables,
    Lookup,
    build_backbone,
    build_knowledge_augmented,
    knowledge_table,
)
from services.trainer.objectives import Objective, objective_of
from services.trainer.offline_store import AskedKnowledge, StoredVectors, asked_knowledge, stored_vectors
from services.trainer.reranking import lists
from services.trainer.samples import ItemTable, Samples, Split

OnStage = Callable[[str], None]
OnEpoch = Callable[[str, Epoch], None]
OnProgress = Callable[[str, Progress], None]


@dataclass(frozen=True)
class Report:
    """What a run came to: metrics of the test part by name, and the sizes of the parts in samples.

    `version` is the model version, or the number of the re-ranker, which is bound to `base_version` then.

    `knowledge_withheld` is the network with knowledge, scoring as if none had come: what a request that switches
    knowledge off gets.
    """

    version: str
    knowledge_off: dict[str, float]
    knowledge_on: dict[str, float]
    knowledge_withheld: dict[str, float]
    training_samples: int
    validation_samples: int
    test_samples: int
    base_version: str = ""


@dataclass(frozen=True)
class Material:
    """What the networks of a run are trained on. With a `base`, the tables hold vectors that its adaptor has made."""

    scenario: str
    columns: Columns
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

    def lookup(self, history_length: int, place: torch.device | None = None) -> Lookup:
        """Where batches are made: at `place`, or on the GPU if there is one."""
        return Lookup(self.columns, self.items, self.tables, history_length, place or device())


@dataclass(frozen=True)
class Watcher:
    """Who is told how a run goes on; networks are named `off` and `on`, for knowledge."""

    stage: OnStage = lambda _: None
    epoch: OnEpoch = lambda *_: None
    progress: OnProgress = lambda *_: None


SILENT = Watcher()


def train(
    dataset: Dataset,
    directory: Path,
    registry: ModelRegistry,
    config: TrainingConfig,
    watcher: Watcher = Watcher(),
    checkpoints: Path | None = None,
    checkpoint_steps: int = 0,
) -> Report:
    """Train without and with knowledge on the same split, export the second, and register it as the next version.

    A re-ranker is trained on the active version's augmented vectors, and registered as bound to it.

    With a folder for `checkpoints`, a run that was broken off goes on from them. Raises KnowledgeNotLoaded, EmptySplit,
    InvalidConfig, ExportMismatch.
    """
    watcher.stage("gathering samples and knowledge")
    material = gather(dataset, directory, config)
    if config.task == "re-ranking":
        material = bound_to_active(material, dataset, config, registry)
    networks = {}
    for name, augmented in (("off", False), ("on", True)):
        watcher.stage(f"training {'with' if augmented else 'without'} knowledge")
        file = run_name(config, material, augmented) + ".pt"
        checkpoint = Checkpoint(checkpoints / file, checkpoint_steps) if checkpoints else None
        networks[name], _ = train_network(material, config, augmented, checkpoint, name, watcher)
    watcher.stage("scoring the test part, exporting, registering")
    return _report(networks["off"], networks["on"], material, config, registry)


def gather(dataset: Dataset, directory: Path, config: TrainingConfig) -> Material:
    """Samples, split by the config's protocol, and the knowledge of their items and users."""
    items, users = stored_vectors(directory, "item_knowledge"), stored_vectors(directory, "user_knowledge")
    columns, user_ids = columns_of(dataset)
    if config.memory_map:
        columns.save(directory / "columns")
        columns = Columns.map(directory / "columns")
    split = sampling.split(columns, _samples(dataset, columns, config), config.protocol, config.split_seed)
    vocabulary = sampling.vocabulary_of(dataset, columns, split.training, config.protocol)
    tables = KnowledgeTables(
        knowledge_table(items.vectors),
        knowledge_table(users.vectors),
        _rows(items, list(dataset.items)),
        _rows(users, user_ids),
    )
    log_hash = dataset.content_hash()
    return Material(
        scenario=dataset.scenario,
        columns=columns,
        items=ItemTable.of(dataset, vocabulary),
        vocabulary=vocabulary,
        split=split,
        tables=tables,
        objective=objective_of(config, columns),
        encoder=items.encoder,
        asked=asked_knowledge(directory),
        log_hash=log_hash,
        data_hash=_data_hash(log_hash, items, users),
    )


def train_network(
    material: Material,
    config: TrainingConfig,
    augmented: bool,
    checkpoint: Checkpoint | None = None,
    name: str = "",
    watcher: Watcher = Watcher(),
) -> tuple[nn.Module, list[Epoch]]:
    """The trained backbone, with adaptor and knowledge if `augmented`, and its epochs."""
    scenario = load_scenario(material.scenario)
    torch.manual_seed(config.seed)
    network: nn.Module
    if augmented and material.base:
        backbone = build_backbone(config, material.vocabulary, scenario, augmented=True)
        network = PreAdapted(backbone, config.knowledge_dropout)
    elif augmented:
        network = build_knowledge_augmented(config, material.vocabulary, scenario, material.tables.width)
    else:
        network = build_backbone(config, material.vocabulary, scenario, augmented=False)
    torch.manual_seed(config.seed + process_rank())
    epochs = fit(
        network,
        material.split,
        material.lookup(config.history_length),
        config,
        material.objective,
        checkpoint,
        lambda epoch: watcher.epoch(name, epoch),
        lambda progress: watcher.progress(name, progress),
    )
    return network, epochs


def register(
    network: KnowledgeAugmented,
    material: Material,
    config: TrainingConfig,
    registry: ModelRegistry,
    test_metrics: dict[str, float],
) -> str:
    """Export the network and register it with all that binds its halves; returns the version."""
    registry.root.mkdir(parents=True, exist_ok=True)
    files = Path(tempfile.mkdtemp(dir=registry.root))
    field_counts = material.vocabulary.field_counts
    network = network.cpu()
    hashes = export(network, files, config.history_length, len(field_counts))
    golden = golden_set(network, material.split.test, material.lookup(config.history_length, torch.device("cpu")))
    hashes[GOLDEN_FILE] = golden.write(files)
    material.vocabulary.write(files / "vocabulary.json")
    manifest = Manifest(
        version=registry.next_version(),
        scenario=material.scenario,
        backbone=config.backbone,
        created_time=datetime.now(UTC),
        encoder=material.encoder,
        knowledge_dimension=material.tables.width,
        augmented_dimension=config.embedding_width,
        history_length=config.history_length,
        item_fields=list(field_counts),
        metrics=test_metrics,
        data_hash=material.data_hash,
        file_hashes=hashes,
    )
    registry.register(manifest, files)
    return manifest.version


def run_name(config: TrainingConfig, material: Material, augmented: bool) -> str:
    """A hash of all that decides what a run comes to: config and log, and the knowledge where it is used."""
    data = material.data_hash if augmented else material.log_hash
    return hashlib.sha256(f"{config.model_dump_json(exclude_defaults=True)} {data} {augmented}".encode()).hexdigest()


def device() -> torch.device:
    """The GPU of this process, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _report(
    off: nn.Module, on: nn.Module, material: Material, config: TrainingConfig, registry: ModelRegistry
) -> Report:
    test, lookup, measure = material.split.test, material.lookup(config.history_length), material.objective
    withheld = Lookup(material.columns, material.items, material.tables.withheld(), config.history_length, device())
    found = {
        "knowledge_off": measure.measure(test, scores(off, test, lookup)),
        "knowledge_on": measure.measure(test, scores(on, test, lookup)),
        "knowledge_withheld": measure.measure(test, scores(on, test, withheld)),
    }
    version = ""
    if process_rank() == 0 and isinstance(on, KnowledgeAugmented):
        put = register_reranker if material.base else register
        version = put(on, material, config, registry, found["knowledge_on"])
    return Report(
        version,
        **found,
        training_samples=len(material.split.training),
        validation_samples=len(material.split.validation),
        test_samples=len(test),
        base_version=material.base.version if material.base else "",
    )


def _rows(stored: StoredVectors, ids: list[str]) -> npt.NDArray[np.int64]:
    """(N,) rows of ids in the knowledge table, 0 where there is none."""
    return pd.Index(stored.subject_ids).get_indexer(pd.Index(ids)).astype(np.int64) + 1


def _samples(dataset: Dataset, columns: Columns, config: TrainingConfig) -> Samples:
    if config.task == "click-through":
        return sampling.impressions(columns)
    return lists(columns, len(dataset.items), config.split_seed)


def _data_hash(log_hash: str, *stored: StoredVectors) -> str:
    digest = hashlib.sha256(log_hash.encode())
    for vectors in stored:
        digest.update(pd.util.hash_array(np.array(vectors.subject_ids, dtype=object)).tobytes())
        digest.update(vectors.vectors.tobytes())
    return digest.hexdigest()
