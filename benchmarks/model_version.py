"""A model version of the shipped config with random weights, which cost what trained ones cost."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from services.model_registry import Manifest, ModelRegistry, Vocabulary
from services.scenarios import load_scenario
from services.trainer.release.export import export
from services.trainer.training.config import read_config
from services.trainer.training.networks import build_knowledge_augmented

GENRES = [f"Genre {n}" for n in range(18)]
KNOWLEDGE_WIDTH = 384


def promote_random_version(registry: ModelRegistry, items: int, encoder: str = "random") -> None:
    """Register version 1, a DIN that knows the items i0, i1, ... and an encoder's vectors; make it the active one."""
    config, scenario = read_config("din"), load_scenario("movies")
    vocabulary = Vocabulary([f"i{n}" for n in range(items)], {"genre": GENRES, "decade": ["1980", "1990"]})
    network = build_knowledge_augmented(config, vocabulary, scenario, KNOWLEDGE_WIDTH)
    registry.root.mkdir(parents=True, exist_ok=True)
    files = Path(tempfile.mkdtemp(dir=registry.root))
    hashes = export(network, files, config.history_length, len(vocabulary.fields))
    vocabulary.write(files / "vocabulary.json")
    manifest = Manifest(
        version="1",
        scenario="movies",
        backbone=config.backbone,
        created_time=datetime.now(UTC),
        encoder=encoder,
        knowledge_dimension=KNOWLEDGE_WIDTH,
        augmented_dimension=config.embedding_width,
        history_length=config.history_length,
        item_fields=list(vocabulary.fields),
        metrics={},
        data_hash="",
        file_hashes=hashes,
    )
    registry.register(manifest, files)
    registry.promote("1")
