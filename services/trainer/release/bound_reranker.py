"""Trains a re-ranker on a model version's augmented vectors, so that it can be served behind that version.

The version's adaptor is frozen: stored vectors are the version's, and a second adaptor would need vectors of its own
for every item. So a re-ranker costs no storage and no promotion of vectors; with each new version it is trained anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.ctr.knowledge_augmented import KnowledgeAugmented
from services.model_registry import Manifest, ModelRegistry
from services.model_registry.rerankers import RerankerManifest, RerankerRegistry
from services.trainer.data.datasets import Dataset
from services.trainer.data.samples import ItemTable
from services.trainer.release.export import export_reranker
from services.trainer.training.batches import KnowledgeTables
from services.trainer.training.config import InvalidConfig, TrainingConfig

if TYPE_CHECKING:
    from services.trainer.training.run import TrainingData

PAGE = 1024


def bound_to_active(
    data: TrainingData, dataset: Dataset, config: TrainingConfig, registry: ModelRegistry
) -> TrainingData:
    """The data with the active version's vocabulary and augmented vectors. Raises InvalidConfig."""
    active = registry.active()
    if active is None:
        raise InvalidConfig("task: a re-ranker is bound to the active model version: promote one first")
    base, vocabulary = registry.manifest(active), registry.vocabulary(active)
    _check(base, data, config)
    adaptor = registry.folder(active) / "adaptor.onnx"
    bound = hashlib.sha256(f"{data.data_hash} {base.file_hashes} {active}".encode()).hexdigest()
    return replace(
        data,
        vocabulary=vocabulary,
        items=ItemTable.of(dataset, vocabulary),
        tables=_adapted(data.tables, adaptor, base.augmented_dimension),
        data_hash=bound,
        base=base,
    )


def register_reranker(
    network: KnowledgeAugmented,
    data: TrainingData,
    config: TrainingConfig,
    registry: ModelRegistry,
    test_metrics: dict[str, float],
) -> str:
    """Export the network and register it as the next re-ranker; returns its number. Raises ExportMismatch."""
    if data.base is None:
        raise ValueError("the data is bound to no model version")
    rerankers = RerankerRegistry(registry.root)
    files = Path(tempfile.mkdtemp(dir=registry.root))
    hashes = export_reranker(network.cpu(), files, data.base)
    manifest = RerankerManifest(
        number=rerankers.next_number(),
        base_version=data.base.version,
        scenario=data.scenario,
        reranker=config.backbone,
        created_time=datetime.now(UTC),
        metrics=test_metrics,
        data_hash=data.data_hash,
        file_hashes=hashes,
    )
    return rerankers.register(manifest, files)


def _check(base: Manifest, data: TrainingData, config: TrainingConfig) -> None:
    for name, value, expected in (
        ("embedding_width", config.embedding_width, base.augmented_dimension),
        ("history_length", config.history_length, base.history_length),
        ("scenario", data.scenario, base.scenario),
        ("encoder", data.encoder, base.encoder),
    ):
        if value != expected:
            raise InvalidConfig(f"{name}: must be that of the active version {base.version}, {expected}; is {value}")


def _adapted(tables: KnowledgeTables, path: Path, width: int) -> KnowledgeTables:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def adapt(side: str, knowledge: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        adapted = np.zeros((len(knowledge), width), dtype=np.float32)
        nothing = knowledge[:0]
        for start in range(1, len(knowledge), PAGE):  # row 0 is that of those without knowledge
            page = knowledge[start : start + PAGE]
            inputs = {f"{name}_knowledge": page if name == side else nothing for name in ("item", "user")}
            adapted[start : start + PAGE] = session.run([f"{side}_augmented"], inputs)[0]
        return adapted

    return replace(tables, item=adapt("item", tables.item), user=adapt("user", tables.user))
