"""Scores in a Triton Inference Server that holds the same ONNX files, under the names that render.py gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.model_registry import SCORER_OUTPUT, ScorerKind, scorer_inputs_of
from services.model_registry.triton_names import MODEL_NAMES, ensemble_name
from services.model_registry.unictr_files import INPUT_IDS, LOGITS, SEQUENCE_INPUTS
from services.ranking.scorers import Scored, ScorerInputs
from services.ranking.scorers.shared_memory import LOST, Regions
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable, PlatformError

UNREACHABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED", "NOT_FOUND")  # a restart or a load may mend these


@dataclass(frozen=True)
class TritonModel:
    """A model in Triton: what it is given, and its output, as long as `shape_of` in its first `axes` axes."""

    name: str
    version: str
    inputs: tuple[str, ...]
    output: str
    shape_of: str
    axes: int

    def given(self, inputs: ScorerInputs) -> ScorerInputs:
        """The inputs as Triton takes them: one that is a number for each user gets an axis, which Triton takes off."""
        return {name: inputs[name] if inputs[name].ndim > 1 else inputs[name][:, None] for name in self.inputs}

    def shape(self, inputs: ScorerInputs) -> tuple[int, ...]:
        """The output's shape for these inputs."""
        shape: tuple[int, ...] = inputs[self.shape_of].shape[: self.axes]
        return shape


def scorer_model(version: str, kind: ScorerKind = "kar") -> TritonModel:
    """The scorer of a version that scores stored features."""
    return TritonModel(MODEL_NAMES[kind], version, tuple(scorer_inputs_of(kind)), SCORER_OUTPUT, "item_id", 2)


def network_model(version: str, network: str) -> TritonModel:
    """The ensemble of a unictr version's language model and one of its networks."""
    return TritonModel(ensemble_name(version, network), "1", SEQUENCE_INPUTS, LOGITS, INPUT_IDS, 1)


class TritonScorer:
    """One model version in one server. `client` is shared by the scorers of all versions.

    With `regions` tensors go through shared memory, which the server must be on the same machine for.
    """

    def __init__(
        self,
        client: triton.InferenceServerClient,
        model: TritonModel,
        timeout_seconds: float = 1.0,
        regions: Regions | None = None,
    ) -> None:
        self._client, self._model, self._timeout_seconds, self._regions = client, model, timeout_seconds, regions

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        """As services.ranking.scorers.Scorer."""
        timeout = self._timeout_seconds if timeout_seconds is None else min(timeout_seconds, self._timeout_seconds)
        if timeout <= 0:
            raise DeadlineExceeded("no time was left to score")
        try:
            scores = self._infer_shared(inputs, timeout) if self._regions else self._infer(inputs, timeout)
        except InferenceServerException as error:
            raise _platform_error(error) from error
        return Scored(scores, "TRITON")

    def _infer(self, inputs: ScorerInputs, timeout: float) -> npt.NDArray[np.float32]:
        model = self._model
        tensors = [_tensor(name, values) for name, values in model.given(inputs).items()]
        result = self._call(tensors, triton.InferRequestedOutput(model.output), timeout)
        return _scores(result, model.output, model.shape(inputs))

    def _infer_shared(self, inputs: ScorerInputs, timeout: float) -> npt.NDArray[np.float32]:
        assert self._regions is not None
        output, shape = self._model.output, self._model.shape(inputs)
        size = 4 * int(np.prod(shape))
        given = self._model.given(inputs)
        with self._regions.borrow(given, size) as region:
            tensors = region.tensors(given)
            try:
                result = self._call(tensors, region.output(output, size), timeout)
            except InferenceServerException as error:
                if LOST not in str(error.message()):
                    raise
                region.register()  # the server was restarted
                result = self._call(tensors, region.output(output, size), timeout)
            _check_shape(list(result.get_output(output).shape), output, shape)
            return region.read(shape)

    def _call(
        self, tensors: list[triton.InferInput], output: triton.InferRequestedOutput, timeout: float
    ) -> triton.InferResult:
        name, version = self._model.name, self._model.version
        return self._client.infer(name, tensors, model_version=version, outputs=[output], client_timeout=timeout)

    def ready(self) -> bool:
        """Whether Triton has this version loaded."""
        try:
            name, version = self._model.name, self._model.version
            ready = self._client.is_model_ready(name, version, client_timeout=self._timeout_seconds)
        except InferenceServerException:
            return False
        return bool(ready)


def _tensor(name: str, values: npt.NDArray[np.generic]) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


def _scores(result: triton.InferResult, output: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    try:
        scores: npt.NDArray[np.float32] = result.as_numpy(output)
    except ValueError as error:  # the right shape without its bytes
        raise PlatformError(f"Triton's output {output!r} is cut: {error}") from error
    _check_shape(None if scores is None else list(scores.shape), output, shape)
    return scores


def _check_shape(found: list[int] | None, output: str, expected: tuple[int, ...]) -> None:
    if found != list(expected):
        raise PlatformError(f"Triton's output {output!r} has shape {found}, expected {list(expected)}")


def _platform_error(error: InferenceServerException) -> PlatformError:
    status, message = str(error.status() or "").removeprefix("StatusCode."), str(error.message())
    if status == "DEADLINE_EXCEEDED":
        return DeadlineExceeded("Triton did not score in time")
    if status in UNREACHABLE:
        return DependencyUnavailable("triton", message)
    return PlatformError(f"Triton refused to score: {status}: {message}")
