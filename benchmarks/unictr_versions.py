"""A Uni-CTR version over a pre-trained language model, and a student; their networks have random weights."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.model_version import GENRES, KNOWLEDGE_WIDTH
from services.ctr.backbones import BACKBONES
from services.ctr.batch import FeatureSpec
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.uni_ctr.domain_network import UniCtrConfig
from services.ctr.uni_ctr.language_model import LanguageModel
from services.ctr.uni_ctr.network import UniCtr
from services.ctr.uni_ctr.prompts import PromptFormat
from services.ctr.uni_ctr.student import Student
from services.model_registry import Manifest, ModelRegistry, ScorerKind, Vocabulary
from services.trainer.multi_domain.pretrained_models import load_language_model
from services.trainer.release.export import export
from services.trainer.release.uni_ctr_export import export_uni_ctr

SCENARIO = "movies"
LADDER_EVERY, MAX_TOKENS, LIKED = 2, 128, 5
WIDTH, HISTORY = 32, 50  # of the student, as of the shipped DIN
FORMAT = PromptFormat("full", MAX_TOKENS, LIKED, ("genre", "decade"), {SCENARIO: "films"})


def promote_uni_ctr(registry: ModelRegistry, language_model: str) -> str:
    """Register a version over a bundled language model and make it the active one of its kind; returns its name."""
    loaded = load_language_model(language_model)
    network = UniCtr(LanguageModel(loaded.model, LADDER_EVERY), UniCtrConfig(), [SCENARIO]).eval()
    files = Path(tempfile.mkdtemp(dir=registry.root))
    hashes = export_uni_ctr(network, loaded.tokenizer, FORMAT, files)
    return _promoted(registry, files, "unictr", language_model, hashes, history_length=LIKED)


def promote_student(registry: ModelRegistry, items: int) -> str:
    """Register a student with DIN as its backbone, and make it the active one of its kind; returns its name."""
    vocabulary = Vocabulary([f"i{n}" for n in range(items)], {"field_1": GENRES, "field_2": ["1980", "1990"]})
    counts = tuple(vocabulary.field_counts.values())
    spec = FeatureSpec(vocabulary.item_count, counts, maximum_rating=5, augmented_width=WIDTH, embedding_width=WIDTH)
    student = Student(BACKBONES["din"], spec, [SCENARIO], AdaptorConfig(KNOWLEDGE_WIDTH, augmented_width=WIDTH)).eval()
    files = Path(tempfile.mkdtemp(dir=registry.root))
    hashes = export(student.network, files, HISTORY, len(counts), "unictr-student")
    vocabulary.write(files / "vocabulary.json")
    widths = {"knowledge_dimension": KNOWLEDGE_WIDTH, "augmented_dimension": WIDTH, "encoder": "random"}
    fields = {"history_length": HISTORY, "item_fields": list(vocabulary.fields)}
    return _promoted(registry, files, "unictr-student", "din", hashes, **widths, **fields)


def _promoted(
    registry: ModelRegistry, files: Path, kind: ScorerKind, backbone: str, hashes: dict[str, str], **own: object
) -> str:
    version = registry.next_version()
    common = {"version": version, "kind": kind, "scenarios": [SCENARIO], "backbone": backbone, "data_hash": ""}
    moment = {"created_time": datetime.now(UTC), "metrics": {}, "file_hashes": hashes}
    registry.register(Manifest.model_validate({**common, **moment, **own}), files)
    registry.promote(version)
    return version
