"""One whole run: samples, the backbone without and with knowledge, export, registration."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from services.ctr.knowledge_augmented import KnowledgeAugmented
from services.model_registry import GOLDEN_FILE, Manifest, ModelRegistry
from services.trainer.data.datasets import Dataset
from services.trainer.release.bound_reranker import bound_to_active, register_reranker
from services.trainer.release.export import export
from services.trainer.release.golden_requests import golden_set
from services.trainer.training.batches import BatchBuilder
from services.trainer.training.checkpoint import Checkpoint
from services.trainer.training.config import TrainingConfig
from services.trainer.training.loop import process_rank
from services.trainer.training.networks import scores
from services.trainer.training.run import SILENT, RunObserver, TrainingData, device, gather, run_name, train_network


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


def train(
    dataset: Dataset,
    directory: Path,
    registry: ModelRegistry,
    config: TrainingConfig,
    observer: RunObserver = SILENT,
    checkpoints: Path | None = None,
    checkpoint_steps: int = 0,
) -> Report:
    """Train without and with knowledge on the same split, export the second, and register it as the next version.

    A re-ranker is trained on the active version's augmented vectors, and registered as bound to it.

    With a folder for `checkpoints`, a run that was broken off goes on from them. Raises KnowledgeNotLoaded, EmptySplit,
    InvalidConfig, ExportMismatch.
    """
    observer.stage("gathering samples and knowledge")
    data = gather(dataset, directory, config)
    if config.task == "re-ranking":
        data = bound_to_active(data, dataset, config, registry)
    networks = {}
    for name, augmented in (("off", False), ("on", True)):
        observer.stage(f"training {'with' if augmented else 'without'} knowledge")
        file = run_name(config, data, augmented) + ".pt"
        checkpoint = Checkpoint(checkpoints / file, checkpoint_steps) if checkpoints else None
        networks[name], _ = train_network(data, config, augmented, checkpoint, name, observer)
    observer.stage("scoring the test part, exporting, registering")
    return _report(networks["off"], networks["on"], data, config, registry)


def register(
    network: KnowledgeAugmented,
    data: TrainingData,
    config: TrainingConfig,
    registry: ModelRegistry,
    test_metrics: dict[str, float],
) -> str:
    """Export the network and register it with all that binds its halves; returns the version."""
    registry.root.mkdir(parents=True, exist_ok=True)
    files = Path(tempfile.mkdtemp(dir=registry.root))
    field_counts = data.vocabulary.field_counts
    network = network.cpu()
    hashes = export(network, files, config.history_length, len(field_counts))
    golden = golden_set(network, data.split.test, data.batches(config.history_length, torch.device("cpu")))
    hashes[GOLDEN_FILE] = golden.write(files)
    data.vocabulary.write(files / "vocabulary.json")
    manifest = Manifest(
        version=registry.next_version(),
        scenario=data.scenario,
        backbone=config.backbone,
        created_time=datetime.now(UTC),
        encoder=data.encoder,
        knowledge_dimension=data.tables.width,
        augmented_dimension=config.embedding_width,
        history_length=config.history_length,
        item_fields=list(field_counts),
        metrics=test_metrics,
        data_hash=data.data_hash,
        file_hashes=hashes,
    )
    return registry.register(manifest, files)


def _report(
    off: nn.Module, on: nn.Module, data: TrainingData, config: TrainingConfig, registry: ModelRegistry
) -> Report:
    test, batches, measure = data.split.test, data.batches(config.history_length), data.objective
    withheld = BatchBuilder(data.log, data.items, data.tables.withheld(), config.history_length, device())
    found = {
        "knowledge_off": measure.measure(test, scores(off, test, batches)),
        "knowledge_on": measure.measure(test, scores(on, test, batches)),
        "knowledge_withheld": measure.measure(test, scores(on, test, withheld)),
    }
    version = ""
    if process_rank() == 0 and isinstance(on, KnowledgeAugmented):
        put = register_reranker if data.base else register
        version = put(on, data, config, registry, found["knowledge_on"])
    return Report(
        version,
        **found,
        training_samples=len(data.split.training),
        validation_samples=len(data.split.validation),
        test_samples=len(test),
        base_version=data.base.version if data.base else "",
    )
