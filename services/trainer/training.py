"""One whole run: samples from the offline store, the backbone without and with knowledge, export, registration."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from services.ctr.knowledge_augmented import KnowledgeAugmented
from services.model_registry import Manifest, ModelRegistry, Vocabulary
from services.scenarios import load_scenario
from services.trainer import samples as sampling
from services.trainer.config import TrainingConfig
from services.trainer.datasets import Dataset
from services.trainer.evaluation import metrics, scores
from services.trainer.export import export
from services.trainer.loop import Epoch, fit
from services.trainer.networks import KnowledgeTables, build_backbone, build_knowledge_augmented, knowledge_table
from services.trainer.offline_store import StoredVectors, stored_vectors
from services.trainer.samples import Samples, Split

OnStage = Callable[[str], None]
OnEpoch = Callable[[str, Epoch], None]


@dataclass(frozen=True)
class Report:
    """What a run came to: metrics of the test part by name, and the sizes of the parts in samples.

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


@dataclass(frozen=True)
class Material:
    """What the networks of a run are trained on."""

    vocabulary: Vocabulary
    split: Split
    tables: KnowledgeTables
    encoder: str
    data_hash: str


def train(
    dataset: Dataset,
    directory: Path,
    registry: ModelRegistry,
    config: TrainingConfig,
    on_stage: OnStage = lambda _: None,
    on_epoch: OnEpoch = lambda *_: None,
) -> Report:
    """Train without and with knowledge on the same split, export the second, and register it as the next version.

    Raises KnowledgeNotLoaded, EmptySplit, InvalidConfig, ExportMismatch.
    """
    on_stage("joining samples with the histories of their moment")
    material, scenario = gather(dataset, directory, config), load_scenario(dataset.scenario)
    split, tables = material.split, material.tables

    torch.manual_seed(config.seed)
    off = build_backbone(config, material.vocabulary, scenario, augmented=False)
    on_stage("training without knowledge")
    fit(off, split, tables, config, lambda epoch: on_epoch("off", epoch))

    torch.manual_seed(config.seed)
    on = build_knowledge_augmented(config, material.vocabulary, scenario, tables.width)
    on_stage("training with knowledge")
    fit(on, split, tables, config, lambda epoch: on_epoch("on", epoch))

    on_stage("scoring the test part, exporting, registering")
    test_metrics = metrics(split.test, scores(on, split.test, tables))
    return Report(
        version=register(on, material, dataset.scenario, config, registry, test_metrics),
        knowledge_off=metrics(split.test, scores(off, split.test, tables)),
        knowledge_on=test_metrics,
        knowledge_withheld=metrics(split.test, scores(on, _withheld(split.test), tables)),
        training_samples=len(split.training),
        validation_samples=len(split.validation),
        test_samples=len(split.test),
    )


def gather(dataset: Dataset, directory: Path, config: TrainingConfig) -> Material:
    """Samples with their point-in-time histories, split by time, and the knowledge tables they point into."""
    items, users = stored_vectors(directory, "item_knowledge"), stored_vectors(directory, "user_knowledge")
    log = sampling.labelled(dataset)
    validation_from, _ = sampling.split_times(log)
    vocabulary = sampling.vocabulary_of(dataset, before=validation_from)
    joined = sampling.with_histories(log, directory)
    encoded = sampling.encode(joined, dataset, vocabulary, _rows(items), _rows(users), config.history_length)
    tables = KnowledgeTables(knowledge_table(items.vectors), knowledge_table(users.vectors))
    return Material(vocabulary, sampling.split(log, encoded), tables, items.encoder, _data_hash(dataset, items, users))


def register(
    network: KnowledgeAugmented,
    material: Material,
    scenario: str,
    config: TrainingConfig,
    registry: ModelRegistry,
    test_metrics: dict[str, float],
) -> str:
    """Export the network and register it with all that binds its halves; returns the version."""
    registry.root.mkdir(parents=True, exist_ok=True)
    files = Path(tempfile.mkdtemp(dir=registry.root))
    field_counts = material.vocabulary.field_counts
    hashes = export(network, files, config.history_length, len(field_counts))
    material.vocabulary.write(files / "vocabulary.json")
    manifest = Manifest(
        version=registry.next_version(),
        scenario=scenario,
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


def _rows(stored: StoredVectors) -> dict[str, int]:
    return {subject: row for row, subject in enumerate(stored.subject_ids, start=1)}


def _withheld(samples: Samples) -> Samples:
    nothing = np.zeros_like(samples.item_row)
    return replace(samples, item_row=nothing, user_row=nothing)


def _data_hash(dataset: Dataset, *stored: StoredVectors) -> str:
    digest = hashlib.sha256(dataset.content_hash().encode())
    for vectors in stored:
        digest.update(pd.util.hash_array(np.array(vectors.subject_ids, dtype=object)).tobytes())
        digest.update(vectors.vectors.tobytes())
    return digest.hexdigest()
