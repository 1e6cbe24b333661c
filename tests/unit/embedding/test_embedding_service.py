"""Rules of the embedding service, over real gRPC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from model_versions import AUGMENTED, ENCODER, KNOWLEDGE, add_gates, augmented, bind, gate, register_version
from unictr_versions import register_student, register_unictr

from loreline.client import (
    EmbeddingClient,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    adapt_for_all,
)
from services.cli.local_processes import free_port
from services.model_registry import ModelRegistry
from tests.processes import running
from tests.waiting import wait_until_serving

VECTORS = np.arange(2 * KNOWLEDGE, dtype=np.float32).reshape(2, KNOWLEDGE) / 10


def test_encode_names_the_encoder(client: EmbeddingClient) -> None:
    """A caller gets vectors in the order of its texts, with the encoder's id."""
    encoded = client.encode(["A comedy about a dog", "A horror film", "A comedy about a dog"])
    assert encoded.vectors.shape == (3, 384)
    assert encoded.encoder.startswith("all-MiniLM-L6-v2-")
    assert encoded.truncated == 0
    np.testing.assert_allclose(encoded.vectors[0], encoded.vectors[2], atol=1e-6)
    assert float(encoded.vectors[0] @ encoded.vectors[1]) < 0.95


def test_encode_refuses_an_empty_text_by_field(client: EmbeddingClient) -> None:
    """The violation names the text."""
    with pytest.raises(InvalidArgumentError) as refused:
        client.encode(["fine", ""])
    assert [field for field, _ in refused.value.violations] == ["texts[1]"]


def test_adapt_says_what_to_do_before_any_promotion(client: EmbeddingClient, registry: ModelRegistry) -> None:
    """Without an active version there is nothing to adapt with, though a named one works already."""
    with pytest.raises(FailedPreconditionError, match="loreline models promote"):
        client.adapt("item", VECTORS, ENCODER)
    version = register_version(registry)
    assert client.adapt("item", VECTORS, ENCODER, version)[1] == version


@pytest.mark.parametrize("subject", ["item", "user"])
def test_adapt_uses_the_subjects_half(client: EmbeddingClient, registry: ModelRegistry, subject: str) -> None:
    """Items and users go through their own side of the adaptor."""
    version = register_version(registry, promote=True)
    vectors, used = client.adapt(subject, VECTORS, ENCODER)
    assert used == version
    assert vectors.shape == (2, AUGMENTED)
    np.testing.assert_allclose(vectors, augmented(int(version), subject, VECTORS), atol=1e-5)


def test_an_adaptor_that_is_not_the_registered_file_adapts_nothing(
    client: EmbeddingClient, registry: ModelRegistry
) -> None:
    """A file of another version, whole and of the right shape, would make vectors that no scorer was trained on."""
    first, second = register_version(registry), register_version(registry)
    bind(registry, second)
    shutil.copy(registry.folder(first) / "adaptor.onnx", registry.folder(second) / "adaptor.onnx")
    with pytest.raises(FailedPreconditionError, match=r"adaptor\.onnx is not the file that was registered"):
        client.adapt("item", VECTORS, ENCODER, second)
    assert client.adapt("item", VECTORS, ENCODER, first)[1] == first


def test_adapt_follows_the_active_pointer(client: EmbeddingClient, registry: ModelRegistry) -> None:
    """The first call after a promotion, or a rollback, uses that version; the other can still be named."""
    first, second = register_version(registry, promote=True), register_version(registry)
    assert client.adapt("item", VECTORS, ENCODER)[1] == first
    registry.promote(second)
    vectors, used = client.adapt("item", VECTORS, ENCODER)
    assert used == second
    np.testing.assert_allclose(vectors, augmented(2, "item", VECTORS), atol=1e-5)
    named, used = client.adapt("item", VECTORS, ENCODER, first)
    assert used == first
    np.testing.assert_allclose(named, augmented(1, "item", VECTORS), atol=1e-5)


def test_adapt_names_the_active_versions_of_other_kinds(client: EmbeddingClient, registry: ModelRegistry) -> None:
    """That of kind kar comes first; a version that reads texts has no adaptor, and is refused by name."""
    student, texts = register_student(registry, promote=True), register_unictr(registry, promote=True)
    alone = client.adapt_active("item", VECTORS, ENCODER)
    assert (alone.model_version, alone.other_versions) == (student, [])
    kar = register_version(registry, promote=True)
    both = client.adapt_active("item", VECTORS, ENCODER)
    assert (both.model_version, both.other_versions) == (kar, [student])
    assert adapt_for_all(client, "item", VECTORS, ENCODER)[1][1] == student
    with pytest.raises(InvalidArgumentError, match="is of kind unictr, which has no adaptor"):
        client.adapt("item", VECTORS, ENCODER, texts)


def test_adapt_refuses_vectors_of_another_encoder(client: EmbeddingClient, registry: ModelRegistry) -> None:
    """Of the same width, they would become nonsense without a word; by name and by the active pointer."""
    version = register_version(registry, promote=True)
    for named in ("", version):
        with pytest.raises(
            FailedPreconditionError, match="are of encoder 'another', and model version 1 on 'test-encoder' was trained"
        ):
            client.adapt("item", VECTORS, "another", named)
    assert adapt_for_all(client, "item", VECTORS, "another") == [([None, None], "")]


def test_adapt_uses_the_active_version_that_takes_the_encoder(client: EmbeddingClient, registry: ModelRegistry) -> None:
    """While the versions of one kind have moved to a new encoder already, those of another have not."""
    student = register_student(registry, promote=True)
    register_version(registry, promote=True, encoder="another")
    assert client.adapt_active("item", VECTORS, ENCODER).model_version == student


def test_adapt_without_an_encoder_is_refused(client: EmbeddingClient, registry: ModelRegistry) -> None:
    """Nobody could say then whether the version takes the vectors."""
    register_version(registry, promote=True)
    with pytest.raises(InvalidArgumentError) as refused:
        client.adapt("item", VECTORS, "")
    assert [name for name, _ in refused.value.violations] == ["encoder"]


@pytest.mark.parametrize("version", ["7", "../1", "one"])
def test_adapt_refuses_an_unknown_version(client: EmbeddingClient, registry: ModelRegistry, version: str) -> None:
    """A version that is not registered is not found, whatever its name looks like."""
    register_version(registry, promote=True)
    with pytest.raises(NotFoundError, match="does not exist"):
        client.adapt("item", VECTORS, ENCODER, version)


@pytest.mark.parametrize(
    ("vectors", "field"),
    [
        (np.ones((2, KNOWLEDGE + 1), dtype=np.float32), "dimension"),
        (np.array([[np.nan] * KNOWLEDGE], dtype=np.float32), "vectors"),
        (np.full((1, KNOWLEDGE), np.inf, dtype=np.float32), "vectors"),
        (np.ones((0, KNOWLEDGE), dtype=np.float32), "vectors"),
        (np.ones((1025, KNOWLEDGE), dtype=np.float32), "vectors"),
    ],
)
def test_adapt_refuses_bad_vectors(
    client: EmbeddingClient, registry: ModelRegistry, vectors: np.ndarray, field: str
) -> None:
    """Wrong widths, no or too many vectors and numbers that are not finite name their field."""
    register_version(registry, promote=True)
    with pytest.raises(InvalidArgumentError) as refused:
        client.adapt("item", vectors, ENCODER)
    assert [name for name, _ in refused.value.violations] == [field]


def test_missing_settings_stop_the_process_at_start() -> None:
    """Exit code 2 and the names of the variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LORELINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "services.embedding"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "LORELINE_EMBEDDING_LISTEN_ADDRESS" in done.stderr
    assert "LORELINE_EMBEDDING_MODEL_REGISTRY" in done.stderr


def test_expert_weights_come_by_name(client: EmbeddingClient, registry: ModelRegistry) -> None:
    """Each side's own gate; a version exported without one says nothing, and is adapted with all the same."""
    silent, telling = register_version(registry, promote=True), register_version(registry)
    add_gates(registry, telling)
    logits = VECTORS[1] @ gate("user")
    expected = np.exp(logits) / np.exp(logits).sum()
    weights = client.expert_weights("user", VECTORS[1], ENCODER, telling)
    assert list(weights) == ["shared-1", "user-1", "user-2"]
    np.testing.assert_allclose(list(weights.values()), expected, atol=1e-5)
    assert client.expert_weights("user", VECTORS[1], ENCODER, silent) == {}


def test_the_process_serves_its_metrics(tmp_path: Path) -> None:
    """What was encoded and adapted shows at /metrics."""
    registry, taken = ModelRegistry(tmp_path / "registry"), set[int]()
    version = register_version(registry, promote=True)
    address, metrics = (f"127.0.0.1:{free_port(0, taken)}" for _ in range(2))
    own = {"LISTEN_ADDRESS": address, "METRICS_ADDRESS": metrics, "MODEL_REGISTRY": str(registry.root)}
    environment = os.environ | {f"LORELINE_EMBEDDING_{name}": value for name, value in own.items()}
    with running([sys.executable, "-m", "services.embedding"], env=environment) as process:
        wait_until_serving(address, process)
        with EmbeddingClient(address, timeout_seconds=60) as client:
            client.encode(["A film", "Another film"])
            client.adapt("user", VECTORS, ENCODER, version)
        with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=100) as response:
            page = response.read().decode()
    assert "loreline_embedding_texts_total 2.0" in page
    assert 'loreline_embedding_adapted_vectors_total{subject="user"} 2.0' in page
