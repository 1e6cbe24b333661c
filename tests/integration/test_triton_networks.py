"""Versions that score texts, and students, in a real Triton server: ensembles of a language model and its networks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from deploy.triton.render import BACKENDS, CannotRender, render
from services.model_registry import GoldenSet, ModelRegistry, VersionRefused, verify_networks, verify_scorer
from services.ranking.scorers import Scorer
from services.ranking.scorers.opening import ScorerOpener, ScorerOptions
from services.ranking.scorers.triton import TritonScorer, network_model, scorer_model
from services.runtime.errors import DependencyUnavailable, PlatformError
from tests.integration.triton_server import TritonProcess, running_triton
from tests.unictr_versions import WIDTH, expected_logits, golden_sequences, register_student, register_unictr


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """Version 1 scores texts, version 2 is a student, version 3 scores texts and one of its networks is poisoned."""
    registry = ModelRegistry(tmp_path_factory.mktemp("registry") / "models")
    register_unictr(registry)
    register_student(registry)
    register_unictr(registry, poison="books")
    return registry


@pytest.fixture(scope="module")
def server(registry: ModelRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    """A server of all three. Tests do not stop it."""
    output = tmp_path_factory.mktemp("triton") / "models"
    render(registry, output, "python")
    with running_triton(output) as process:
        yield process


@pytest.fixture
def client(server: TritonProcess) -> Iterator[triton_grpc.InferenceServerClient]:
    client = triton_grpc.InferenceServerClient(server.address)
    yield client
    client.close()


def sequences(count: int, tokens: int) -> dict[str, np.ndarray]:
    """Random token ids, the last of them half padding."""
    ids = np.random.default_rng(tokens).integers(1, 200, (count, tokens))
    mask = np.ones_like(ids)
    mask[-1, tokens // 2 + 1 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


class TestNetworks:
    """Each network is an ensemble of its own."""

    @pytest.mark.parametrize("place", ["TRITON", "IN_PROCESS"])
    @pytest.mark.parametrize("network", ["movies", "books", "general"])
    def test_each_network_answers_with_its_own_logits(
        self, server: TritonProcess, registry: ModelRegistry, network: str, place: str
    ) -> None:
        """For one sequence and for many, of any length, in the server as in the process."""
        opener = ScorerOpener(ScorerOptions((server.address,) if place == "TRITON" else ()))
        scorer: Scorer = opener.open_networks(registry.manifest("1"), registry.folder("1"))[network]
        for count, tokens in ((1, 3), (32, 17), (5, 64)):
            inputs = sequences(count, tokens)
            scored = scorer.score(inputs, timeout_seconds=100)
            assert scored.place == place
            np.testing.assert_allclose(scored.values, expected_logits(1, network, *inputs.values()), atol=1e-4)
        opener.close()

    def test_shared_memory_carries_sequences_too(self, server: TritonProcess, registry: ModelRegistry) -> None:
        """The output is as long as the batch."""
        opener = ScorerOpener(ScorerOptions((server.address,), shared_memory=True))
        scorer = opener.open_networks(registry.manifest("1"), registry.folder("1"))["movies"]
        inputs = sequences(7, 20)
        np.testing.assert_allclose(
            scorer.score(inputs).values, expected_logits(1, "movies", *inputs.values()), atol=1e-4
        )
        opener.close()

    def test_a_sequence_that_the_model_cannot_take_is_refused(self, client: triton_grpc.InferenceServerClient) -> None:
        """A token that is not in the table."""
        wrong = {"input_ids": np.full((1, 2), 10_000), "attention_mask": np.ones((1, 2), dtype=np.int64)}
        with pytest.raises(PlatformError, match="Triton refused to score"):
            TritonScorer(client, network_model("1", "movies")).score(wrong)

    def test_a_network_that_is_not_there_is_an_unavailable_dependency(
        self, client: triton_grpc.InferenceServerClient
    ) -> None:
        """It may be loaded a moment later."""
        with pytest.raises(DependencyUnavailable):
            TritonScorer(client, network_model("1", "music")).score(sequences(1, 3))

    def test_a_version_proves_itself_where_it_will_score(
        self, client: triton_grpc.InferenceServerClient, registry: ModelRegistry
    ) -> None:
        """The right one by the golden sets of its networks; the poisoned one is refused by the network's name."""

        def verify(version: str) -> float | None:
            def score(network: str, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
                scorer = TritonScorer(client, network_model(version, network))
                return scorer.score({"input_ids": ids, "attention_mask": mask}).values

            return verify_networks(score, registry.manifest(version), registry.folder(version))

        assert verify("1") == pytest.approx(0, abs=1e-5)
        with pytest.raises(VersionRefused, match="network 'books'"):
            verify("3")


def test_a_student_is_a_model_beside_the_scorer(
    client: triton_grpc.InferenceServerClient, registry: ModelRegistry
) -> None:
    """Its golden set holds the domain."""
    scorer = TritonScorer(client, scorer_model("2", "unictr-student"))
    golden = GoldenSet.read(registry.folder("2"))
    assert verify_scorer(lambda inputs: scorer.score(inputs).values, registry.manifest("2"), golden) is not None


class TestRender:
    """The renderer alone."""

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_an_ensemble_names_its_parts_of_the_same_version(
        self, registry: ModelRegistry, tmp_path: Path, backend: str
    ) -> None:
        """For both backends, from the same exported files, whose own names stay."""
        folders = render(registry, tmp_path, backend, ["1"])
        assert [folder.name for folder in folders] == ["unictr-1-movies", "unictr-1-books", "unictr-1-general"]
        ensemble, part = (config(tmp_path, name) for name in ("unictr-1-books", "unictr-1.network-books"))
        assert ensemble.platform == "ensemble"
        assert [(step.model_name, step.model_version) for step in ensemble.ensemble_scheduling.step] == [
            ("unictr-1.language_model", 1),
            ("unictr-1.network-books", 1),
        ]
        assert (part.backend, list(part.input[0].dims)) == (backend, [-1, -1, -1, WIDTH])
        assert (tmp_path / part.name / "1" / "network-books.onnx").exists()
        program = tmp_path / part.name / "1" / "model.py"
        assert program.exists() == (backend == "python")
        assert part.default_model_filename == ("model.py" if backend == "python" else "network-books.onnx")

    def test_rendering_again_writes_nothing(self, registry: ModelRegistry, tmp_path: Path) -> None:
        """A polling server would load everything anew."""
        render(registry, tmp_path, "python")
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        render(registry, tmp_path, "python")
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    def test_another_registry_s_version_is_not_taken_for_this_one(
        self, registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """Versions begin at 1 in each."""
        render(registry, tmp_path / "out", "python", ["1"])
        other = ModelRegistry(tmp_path / "registry")
        register_unictr(other, seed=77)
        with pytest.raises(CannotRender, match="holds another model than this version"):
            render(other, tmp_path / "out", "python")

    @pytest.mark.parametrize("name", ["network-books.onnx", "language_model.onnx"])
    def test_a_file_that_is_missing_or_breaks_the_contract_is_refused_before_anything_is_written(
        self, registry: ModelRegistry, tmp_path: Path, name: str
    ) -> None:
        """The message names the file."""
        root = tmp_path / "registry"
        shutil.copytree(registry.root, root)
        (root / "versions" / "1" / name).unlink()
        with pytest.raises(CannotRender, match=f"{name} is missing"):
            render(ModelRegistry(root), tmp_path / "out", "python")
        shutil.copyfile(root / "versions" / "2" / "adaptor.onnx", root / "versions" / "1" / name)
        with pytest.raises(CannotRender, match=f"{name} has inputs .*item_knowledge"):
            render(ModelRegistry(root), tmp_path / "out", "python")
        assert not (tmp_path / "out").exists()


def config(output: Path, name: str) -> model_config_pb2.ModelConfig:
    """A rendered configuration."""
    text = (output / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_golden_sequences_hold_padding() -> None:
    """Otherwise a lost mask would not show."""
    assert (golden_sequences(1, "movies").attention_mask == 0).any()
