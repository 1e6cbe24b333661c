"""A real Triton server over a rendered model repository scores as the process itself does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult, model_config_pb2

from deploy.triton.render import BACKENDS, CannotRender, render
from services.cli.local_processes import free_port
from services.model_registry import ModelRegistry
from services.ranking.scorers import ScorerInputs
from services.ranking.scorers.in_process import InProcessScorer
from services.ranking.scorers.triton import TritonScorer, scorer_model
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable, PlatformError
from tests.integration.triton_server import TritonProcess, running_triton
from tests.model_versions import register_version, scorer_inputs
from tests.processes import running

POLLS_SECONDS = 2.5  # the server looks for changes each second


@pytest.fixture
def client(triton: TritonProcess) -> Iterator[InferenceServerClient]:
    """A client of the shared server."""
    client = InferenceServerClient(triton.address)
    yield client
    client.close()


class TestScores:
    """Through Triton and in this process, on the same file."""

    @pytest.mark.parametrize("version", ["1", "2"])
    @pytest.mark.parametrize(("candidates", "batch"), [(1, 1), (7, 1), (200, 1), (1000, 1), (30, 4)])
    def test_scores_equal_those_of_the_process(
        self, client: InferenceServerClient, triton_registry: ModelRegistry, version: str, candidates: int, batch: int
    ) -> None:
        """To 1e-5, for one candidate and for a thousand, alone and in a batch."""
        inputs = scorer_inputs(candidates, batch, seed=candidates)
        expected = InProcessScorer(triton_registry.folder(version) / "scorer.onnx").score(inputs).values
        scores = TritonScorer(client, scorer_model(version)).score(inputs).values
        assert scores.shape == (batch, candidates)
        np.testing.assert_allclose(scores, expected, atol=1e-5)

    def test_every_byte_of_the_output_comes(self, client: InferenceServerClient) -> None:
        """A server environment with the wrong NumPy answers with the right shape and no bytes."""
        inputs = scorer_inputs(200)
        tensors = [_tensor(name, values) for name, values in inputs.items()]
        result = client.infer("scorer", tensors, model_version="1")
        assert len(result.get_response().raw_output_contents[0]) == 200 * 4

    def test_requests_at_once_each_get_their_own_scores(
        self, client: InferenceServerClient, triton_registry: ModelRegistry
    ) -> None:
        """The server joins requests to batches and takes the answers apart again."""
        scorer, alone = (
            TritonScorer(client, scorer_model("1")),
            InProcessScorer(triton_registry.folder("1") / "scorer.onnx"),
        )
        asked = [scorer_inputs(50, seed=seed) for seed in range(24)]
        results: list[InferResult] = []
        errors: list[object] = []

        def keep(result: InferResult, error: object) -> None:
            errors.append(error) if error else results.append(result)

        for number, inputs in enumerate(asked):
            tensors = [_tensor(name, values) for name, values in inputs.items()]
            client.async_infer("scorer", tensors, keep, model_version="1", request_id=str(number))
        deadline = time.monotonic() + 100
        while len(results) + len(errors) < len(asked) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert errors == []
        assert len(results) == len(asked)
        for result in results:
            expected = alone.score(asked[int(result.get_response().id)]).values
            np.testing.assert_allclose(result.as_numpy("score"), expected, atol=1e-5)
        assert scorer.ready()


class TestFaults:
    """What goes wrong comes as an error of ours."""

    def test_a_wrong_shape_is_refused(self, client: InferenceServerClient) -> None:
        """Triton checks against the rendered configuration."""
        inputs = scorer_inputs(5)
        inputs["item_augmented"] = inputs["item_augmented"][:, :, :2]
        with pytest.raises(PlatformError, match="INVALID_ARGUMENT"):
            TritonScorer(client, scorer_model("1")).score(inputs)

    def test_only_the_wrong_request_of_a_batch_is_refused(self, client: InferenceServerClient) -> None:
        """An index out of the table is found when the joined batch is scored; the others are scored alone then."""
        asked = [scorer_inputs(50, seed=seed) for seed in range(16)]
        asked[3]["item_id"] = asked[3]["item_id"] + 10_000
        with ThreadPoolExecutor(len(asked)) as pool:
            futures = [pool.submit(TritonScorer(client, scorer_model("1")).score, inputs) for inputs in asked]
        refused = [number for number, future in enumerate(futures) if future.exception()]
        assert refused == [3]
        with pytest.raises(PlatformError, match="INVALID_ARGUMENT"):
            futures[3].result()

    def test_candidates_that_do_not_fit_together_are_refused(self, client: InferenceServerClient) -> None:
        """Each input alone has a valid shape; one item's fields would be broadcast to all."""
        inputs = scorer_inputs(5)
        inputs["item_fields"] = inputs["item_fields"][:, :1]
        with pytest.raises(PlatformError, match="item_fields has shape"):
            TritonScorer(client, scorer_model("1")).score(inputs)

    def test_an_unknown_version_is_an_unavailable_dependency(self, client: InferenceServerClient) -> None:
        """It may be loaded a moment later."""
        with pytest.raises(DependencyUnavailable):
            TritonScorer(client, scorer_model("99")).score(scorer_inputs(5))
        assert not TritonScorer(client, scorer_model("99")).ready()

    def test_a_deadline_that_is_too_short_is_reported_as_one(self, client: InferenceServerClient) -> None:
        """Scoring so many candidates takes longer than 10 microseconds."""
        with pytest.raises(DeadlineExceeded):
            TritonScorer(client, scorer_model("1")).score(scorer_inputs(50_000), timeout_seconds=0.00001)

    def test_a_killed_server_is_unavailable_and_a_restarted_one_scores_again(
        self, triton_registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """With the same client, so that a restart needs none of ranking."""
        output = tmp_path / "models"
        render(triton_registry, output, "python", ["1"])
        with running_triton(output) as first:
            client = InferenceServerClient(first.address)
            scorer = TritonScorer(client, scorer_model("1"), timeout_seconds=2)
            before = scorer.score(scorer_inputs(5)).values
            first.kill()
            with pytest.raises(DependencyUnavailable):
                scorer.score(scorer_inputs(5))
            assert not scorer.ready()
            with running_triton(output, address=first.address):
                after = _score_when_ready(scorer, scorer_inputs(5))
            client.close()
        np.testing.assert_array_equal(before, after)

    def test_a_version_rendered_later_is_picked_up_by_the_running_server(
        self, triton_registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """Promotion needs no restart."""
        output = tmp_path / "models"
        render(triton_registry, output, "python", ["1"])
        with running_triton(output) as server:
            client = InferenceServerClient(server.address)
            render(triton_registry, output, "python")
            scorer, deadline = TritonScorer(client, scorer_model("2")), time.monotonic() + 100
            while not scorer.ready() and time.monotonic() < deadline:
                time.sleep(0.2)
            assert scorer.score(scorer_inputs(5)).values.shape == (1, 5)
            client.close()

    def test_the_running_server_loads_each_version_once(self, triton_registry: ModelRegistry, tmp_path: Path) -> None:
        """Neither rendering again nor the server's own files look like a change to it."""
        output = tmp_path / "models"
        render(triton_registry, output, "python", ["1"])
        with running_triton(output) as server:
            client = InferenceServerClient(server.address)
            TritonScorer(client, scorer_model("1")).score(scorer_inputs(5))
            render(triton_registry, output, "python", ["1"])
            time.sleep(POLLS_SECONDS)
            client.close()
        assert (tmp_path / "triton.log").read_text(errors="replace").count("loading: scorer:1") == 1


class TestRender:
    """The renderer alone."""

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_the_configuration_names_backend_batching_and_warm_up(
        self, triton_registry: ModelRegistry, tmp_path: Path, backend: str
    ) -> None:
        """For both backends, from one exported file."""
        [model] = render(triton_registry, tmp_path, backend)
        config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        assert (config.name, config.backend) == ("scorer", backend)
        assert config.max_batch_size > 1
        assert config.dynamic_batching.max_queue_delay_microseconds > 0
        assert {name: list(value.dims) for name, value in config.model_warmup[0].inputs.items()}["item_id"] == [200]
        assert (model / "1" / "model.onnx").read_bytes() == (triton_registry.folder("1") / "scorer.onnx").read_bytes()
        assert (model / "1" / "model.py").exists() == (backend == "python")

    def test_versions_of_other_widths_cannot_share_a_model(
        self, triton_registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """The message names them."""
        root = tmp_path / "registry"
        shutil.copytree(triton_registry.root, root)
        path = root / "versions" / "1" / "manifest.json"
        path.write_text(path.read_text().replace('"history_length": 5', '"history_length": 9'))
        with pytest.raises(CannotRender, match="versions 1 have other widths than 2"):
            render(ModelRegistry(root), tmp_path / "out", "python")

    def test_a_repository_of_another_backend_is_refused(self, triton_registry: ModelRegistry, tmp_path: Path) -> None:
        """Its version folders would lack what the other backend needs."""
        render(triton_registry, tmp_path, "onnxruntime")
        with pytest.raises(CannotRender, match="is for backend 'onnxruntime'"):
            render(triton_registry, tmp_path, "python")

    def test_a_version_of_another_registry_is_not_taken_for_this_one(
        self, triton_registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """A new registry begins at version 1 again; ranking would mix its halves with the old scorer."""
        render(triton_registry, tmp_path / "out", "python")
        other = ModelRegistry(tmp_path / "registry")
        register_version(other, seed=77)
        with pytest.raises(CannotRender, match="holds another model than version 1"):
            render(other, tmp_path / "out", "python")

    def test_a_scorer_that_breaks_the_contract_is_refused_before_anything_is_written(
        self, triton_registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """The message names the input."""
        root, adaptor = tmp_path / "registry", triton_registry.folder("2") / "adaptor.onnx"
        shutil.copytree(triton_registry.root, root)
        shutil.copyfile(adaptor, root / "versions" / "2" / "scorer.onnx")
        with pytest.raises(CannotRender, match=r"has inputs .*item_knowledge.*expected .*item_id"):
            render(ModelRegistry(root), tmp_path / "out", "python")
        assert not (tmp_path / "out").exists()

    def test_a_broken_file_is_refused(self, triton_registry: ModelRegistry, tmp_path: Path) -> None:
        """Not left for the server to stumble over."""
        root = tmp_path / "registry"
        shutil.copytree(triton_registry.root, root)
        (root / "versions" / "1" / "scorer.onnx").write_bytes(b"cut")
        with pytest.raises(CannotRender, match="is not a model that ONNX Runtime can load"):
            render(ModelRegistry(root), tmp_path / "out", "onnxruntime")

    def test_the_command_says_what_is_wrong_and_ends_with_code_2(self, tmp_path: Path) -> None:
        """An empty registry cannot be rendered."""
        command = [sys.executable, "-m", "deploy.triton.render", "--registry", tmp_path, "--output", tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no model version is registered" in done.stderr


class TestCommand:
    """The local server as a process of its own."""

    def test_it_serves_until_it_is_told_to_end(self, triton_registry: ModelRegistry, tmp_path: Path) -> None:
        """It says when it is ready, and takes the server with it."""
        render(triton_registry, tmp_path / "models", "python", ["1"])
        command, address = _local_server(tmp_path / "models")
        with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout
            said = next(line for line in process.stdout if line.startswith("Triton is ready"))
            client = InferenceServerClient(address)
            assert said.strip() == f"Triton is ready at {address}"
            assert TritonScorer(client, scorer_model("1")).ready()
            process.terminate()
            assert process.wait(100) == 0
            assert not TritonScorer(client, scorer_model("1")).ready()
            client.close()

    def test_a_server_that_cannot_start_ends_the_command(self, tmp_path: Path) -> None:
        """With a message and code 1, not by waiting."""
        model = tmp_path / "models" / "scorer"
        model.mkdir(parents=True)
        (model / "config.pbtxt").write_text("no configuration")
        command, _ = _local_server(tmp_path / "models")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 1
        assert "error: Triton ended with code" in done.stderr


def _local_server(model_repository: Path) -> tuple[list[str], str]:
    taken: set[int] = set()
    ports = {name: free_port(0, taken) for name in ("http", "grpc", "metrics")}
    options = [f"--{name}-port={port}" for name, port in ports.items()]
    command = [sys.executable, "-m", "deploy.triton.local_server", f"--model-repository={model_repository}", *options]
    return command, f"127.0.0.1:{ports['grpc']}"


def _tensor(name: str, values: np.ndarray) -> InferInput:
    kind = "INT64" if values.dtype == np.int64 else "FP32"
    tensor = InferInput(name, list(values.shape), kind)
    tensor.set_data_from_numpy(values)
    return tensor


def _score_when_ready(scorer: TritonScorer, inputs: ScorerInputs) -> np.ndarray:
    deadline = time.monotonic() + 100
    while True:
        try:
            return scorer.score(inputs).values
        except DependencyUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
