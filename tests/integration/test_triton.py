"""A real Triton server over a rendered model repository scores as the process itself does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from deploy.triton.render import BACKENDS, CannotRender, render
from services.model_registry import ModelRegistry
from services.ranking.scorers import ScorerInputs
from services.ranking.scorers.in_process import InProcessScorer
from services.ranking.scorers.triton import TritonScorer
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable, PlatformError
from tests.integration.triton_server import TritonProcess, running_triton
from tests.model_versions import register_version, scorer_inputs


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """Two registered versions."""
    registry = ModelRegistry(tmp_path_factory.mktemp("models"))
    for _ in range(2):
        register_version(registry)
    return registry


@pytest.fixture(scope="module")
def repository(registry: ModelRegistry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both versions, rendered for the Python backend."""
    output = tmp_path_factory.mktemp("triton") / "models"
    render(registry, output, "python")
    return output


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonProcess]:
    """A server that all tests of this file share."""
    with running_triton(repository) as process:
        yield process


@pytest.fixture
def client(server: TritonProcess) -> Iterator[triton.InferenceServerClient]:
    """A client of the shared server."""
    client = triton.InferenceServerClient(server.address)
    yield client
    client.close()


class TestScores:
    """Through Triton and in this process, on the same file."""

    @pytest.mark.parametrize("version", ["1", "2"])
    @pytest.mark.parametrize(("candidates", "batch"), [(1, 1), (7, 1), (200, 1), (1000, 1), (30, 4)])
    def test_scores_equal_those_of_the_process(
        self, client: triton.InferenceServerClient, registry: ModelRegistry, version: str, candidates: int, batch: int
    ) -> None:
        """To 1e-5, for one candidate and for a thousand, alone and in a batch."""
        inputs = scorer_inputs(candidates, batch, seed=candidates)
        expected = InProcessScorer(registry.folder(version) / "scorer.onnx").score(inputs)
        scores = TritonScorer(client, version).score(inputs)
        assert scores.shape == (batch, candidates)
        np.testing.assert_allclose(scores, expected, atol=1e-5)

    def test_every_byte_of_the_output_comes(self, client: triton.InferenceServerClient) -> None:
        """A server environment with the wrong NumPy answers with the right shape and no bytes."""
        inputs = scorer_inputs(200)
        tensors = [_tensor(name, values) for name, values in inputs.items()]
        result = client.infer("scorer", tensors, model_version="1")
        assert len(result.get_response().raw_output_contents[0]) == 200 * 4

    def test_requests_at_once_each_get_their_own_scores(
        self, client: triton.InferenceServerClient, registry: ModelRegistry
    ) -> None:
        """The server joins requests to batches and takes the answers apart again."""
        scorer, alone = TritonScorer(client, "1"), InProcessScorer(registry.folder("1") / "scorer.onnx")
        asked = [scorer_inputs(50, seed=seed) for seed in range(24)]
        results: list[triton.InferResult] = []
        errors: list[object] = []

        def keep(result: triton.InferResult, error: object) -> None:
            errors.append(error) if error else results.append(result)

        for number, inputs in enumerate(asked):
            tensors = [_tensor(name, values) for name, values in inputs.items()]
            client.async_infer("scorer", tensors, keep, model_version="1", request_id=str(number))
        deadline = time.monotonic() + 20
        while len(results) + len(errors) < len(asked) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert errors == []
        assert len(results) == len(asked)
        for result in results:
            expected = alone.score(asked[int(result.get_response().id)])
            np.testing.assert_allclose(result.as_numpy("score"), expected, atol=1e-5)
        assert scorer.ready()


class TestFaults:
    """What goes wrong comes as an error of ours."""

    def test_a_wrong_shape_is_refused(self, client: triton.InferenceServerClient) -> None:
        """Triton checks against the rendered configuration."""
        inputs = scorer_inputs(5)
        inputs["item_augmented"] = inputs["item_augmented"][:, :, :2]
        with pytest.raises(PlatformError, match="INVALID_ARGUMENT"):
            TritonScorer(client, "1").score(inputs)

    def test_an_unknown_version_is_an_unavailable_dependency(self, client: triton.InferenceServerClient) -> None:
        """It may be loaded a moment later."""
        with pytest.raises(DependencyUnavailable):
            TritonScorer(client, "99").score(scorer_inputs(5))
        assert not TritonScorer(client, "99").ready()

    def test_a_deadline_that_is_too_short_is_reported_as_one(self, client: triton.InferenceServerClient) -> None:
        """Scoring a thousand candidates takes longer than 10 microseconds."""
        with pytest.raises(DeadlineExceeded):
            TritonScorer(client, "1").score(scorer_inputs(1000), timeout_seconds=0.00001)

    def test_a_killed_server_is_unavailable_and_a_restarted_one_scores_again(
        self, registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """With the same client, so that a restart needs none of ranking."""
        output = tmp_path / "models"
        render(registry, output, "python", ["1"])
        with running_triton(output) as first:
            client = triton.InferenceServerClient(first.address)
            scorer = TritonScorer(client, "1", timeout_seconds=2)
            before = scorer.score(scorer_inputs(5))
            first.kill()
            with pytest.raises(DependencyUnavailable):
                scorer.score(scorer_inputs(5))
            assert not scorer.ready()
            with running_triton(output, address=first.address):
                after = _score_when_ready(scorer, scorer_inputs(5))
            client.close()
        np.testing.assert_array_equal(before, after)

    def test_a_version_rendered_later_is_picked_up_by_the_running_server(
        self, registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """Promotion needs no restart."""
        output = tmp_path / "models"
        render(registry, output, "python", ["1"])
        with running_triton(output) as server:
            client = triton.InferenceServerClient(server.address)
            render(registry, output, "python")
            scorer, deadline = TritonScorer(client, "2"), time.monotonic() + 20
            while not scorer.ready() and time.monotonic() < deadline:
                time.sleep(0.2)
            assert scorer.score(scorer_inputs(5)).shape == (1, 5)
            client.close()


class TestRender:
    """The renderer alone."""

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_the_configuration_names_backend_batching_and_warm_up(
        self, registry: ModelRegistry, tmp_path: Path, backend: str
    ) -> None:
        """For both backends, from one exported file."""
        model = render(registry, tmp_path, backend)
        config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        assert (config.name, config.backend) == ("scorer", backend)
        assert config.max_batch_size > 1
        assert config.dynamic_batching.max_queue_delay_microseconds > 0
        assert {name: list(value.dims) for name, value in config.model_warmup[0].inputs.items()}["item_id"] == [200]
        assert (model / "1" / "model.onnx").read_bytes() == (registry.folder("1") / "scorer.onnx").read_bytes()
        assert (model / "1" / "model.py").exists() == (backend == "python")

    def test_versions_of_other_widths_cannot_share_a_model(self, registry: ModelRegistry, tmp_path: Path) -> None:
        """The message names them."""
        root = tmp_path / "registry"
        shutil.copytree(registry.root, root)
        path = root / "versions" / "1" / "manifest.json"
        path.write_text(path.read_text().replace('"history_length": 5', '"history_length": 9'))
        with pytest.raises(CannotRender, match="versions 1 have other widths than 2"):
            render(ModelRegistry(root), tmp_path / "out", "python")

    def test_the_command_says_what_is_wrong_and_ends_with_code_2(self, tmp_path: Path) -> None:
        """An empty registry cannot be rendered."""
        command = [sys.executable, "-m", "deploy.triton.render", "--registry", tmp_path, "--output", tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no model version is registered" in done.stderr


def _tensor(name: str, values: np.ndarray) -> triton.InferInput:
    kind = "INT64" if values.dtype == np.int64 else "FP32"
    tensor = triton.InferInput(name, list(values.shape), kind)
    tensor.set_data_from_numpy(values)
    return tensor


def _score_when_ready(scorer: TritonScorer, inputs: ScorerInputs) -> np.ndarray:
    deadline = time.monotonic() + 20
    while True:
        try:
            return scorer.score(inputs)
        except DependencyUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
