"""Knowledge vector to augmented vector, by the adaptor half of a model version."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
import structlog

from services.embedding.metrics import EmbeddingMetrics
from services.model_registry import ModelRegistry, NoSuchVersion, VersionRefused, verify_files
from services.runtime.errors import FailedPrecondition, InvalidRequest, NotFound

MAX_VECTORS = 1024
Subject = Literal["item", "user"]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Adapted:
    """float32 (N, A) augmented vectors, and the model version whose adaptor made them.

    `others` are active versions of other kinds that take the encoder's vectors; none when a version was named.
    `expert_weights` (N, E) say how its `experts` were mixed; E is 0 when not asked for, or when the file cannot say.
    """

    vectors: npt.NDArray[np.float32]
    model_version: str
    experts: list[str]
    expert_weights: npt.NDArray[np.float32]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Adaptor:
    session: onnxruntime.InferenceSession
    knowledge_dimension: int
    encoder: str
    experts: dict[str, list[str]]  # names by output; none in files exported before there were such outputs


class Adapter:
    """Adapts with the active version, or with a named one. Safe to share between threads.

    The active pointer is read on every call, about 20 microseconds, so that a promotion holds from the next call on.
    The `loaded_adaptors` versions that were used last stay in memory.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        *,
        loaded_adaptors: int = 3,
        threads: int = 1,
        metrics: EmbeddingMetrics | None = None,
    ) -> None:
        self._registry, self._threads = registry, threads
        self._metrics = metrics or EmbeddingMetrics()
        self._loaded = lru_cache(loaded_adaptors)(self._load)
        self._lock = threading.Lock()

    def adapt(
        self,
        subject: Subject,
        vectors: npt.NDArray[np.float32],
        encoder: str,
        version: str = "",
        with_experts: bool = False,
    ) -> Adapted:
        """Adapt float32 (N, K) of an encoder, N from 1 to 1,024. An empty `version` means the active one, best of kind
        kar, of those that were trained on the encoder.

        Raises FailedPrecondition before any promotion, and for an encoder that the version was not trained on, NotFound
        for an unknown version, InvalidRequest for a wrong width or for numbers that are not finite.
        """
        with self._metrics.adapt(subject, len(vectors)):
            chosen, *others = self._taking(vectors, encoder, [version] if version else self._active())
            return replace(self._adapted(subject, vectors, chosen, with_experts), others=tuple(others))

    def _adapted(self, subject: Subject, vectors: npt.NDArray[np.float32], version: str, with_experts: bool) -> Adapted:
        adaptor = self._adaptor(version)
        _check(vectors, adaptor.knowledge_dimension, version)
        nothing = np.empty((0, adaptor.knowledge_dimension), dtype=np.float32)
        inputs = {f"{name}_knowledge": vectors if name == subject else nothing for name in ("item", "user")}
        gate = f"{subject}_experts"
        experts = adaptor.experts.get(gate, []) if with_experts else []
        augmented, *gates = adaptor.session.run([f"{subject}_augmented", *([gate] if experts else [])], inputs)
        weights = gates[0] if gates else np.empty((len(vectors), 0), dtype=np.float32)
        return Adapted(augmented, version, experts, weights)

    def _taking(self, vectors: npt.NDArray[np.float32], encoder: str, versions: Sequence[str]) -> list[str]:
        """Those of some versions that were trained on an encoder's vectors.

        Raises FailedPrecondition when none was, InvalidRequest when the vectors are wrong in themselves.
        """
        adaptors = {version: self._adaptor(version) for version in versions}
        taking = [version for version in versions if adaptors[version].encoder == encoder]
        if not taking:
            _check(vectors, adaptors[versions[0]].knowledge_dimension, versions[0])
            trained = ", ".join(f"{version} on {adaptor.encoder!r}" for version, adaptor in adaptors.items())
            raise FailedPrecondition(
                f"the vectors are of encoder {encoder!r}, and model version {trained} was trained: train one on the "
                "vectors' encoder, or make them anew with `loreline knowledge rebuild --vectors`"
            )
        return taking

    def _active(self) -> list[str]:
        versions = self._registry.adapted_versions()
        if not versions:
            raise FailedPrecondition(
                "no model version is active: train one with `loreline train`, then run `loreline models promote`"
            )
        return versions

    def _adaptor(self, version: str) -> _Adaptor:
        with self._lock:  # the cache alone would load one version in every thread that asks for it first
            return self._loaded(version)

    def _load(self, version: str) -> _Adaptor:
        try:
            folder, manifest = self._registry.folder(version), self._registry.manifest(version)
        except NoSuchVersion as error:
            raise NotFound("model version", version) from error
        if not manifest.has_adaptor:
            raise InvalidRequest([("model_version", f"{version} is of kind {manifest.kind}, which has no adaptor")])
        try:
            verify_files(folder, manifest)
        except VersionRefused as error:
            raise FailedPrecondition(f"model version {version} cannot be used: {error}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        log.info("adaptor loaded", model_version=version)
        session = onnxruntime.InferenceSession(folder / "adaptor.onnx", options)
        return _Adaptor(session, manifest.knowledge_dimension, manifest.encoder, _experts(session))


def _experts(session: onnxruntime.InferenceSession) -> dict[str, list[str]]:
    names = session.get_modelmeta().custom_metadata_map
    outputs = [output.name for output in session.get_outputs() if output.name in names]
    return {output: names[output].split(",") for output in outputs}


def _check(vectors: npt.NDArray[np.float32], dimension: int, version: str) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        expected = f"must be {dimension}, the width that the adaptor of version {version} takes"
        raise InvalidRequest([("dimension", expected)])
    if not 1 <= len(vectors) <= MAX_VECTORS:
        raise InvalidRequest([("vectors", f"must hold 1 to {MAX_VECTORS} vectors")])
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise InvalidRequest([("vectors", f"must be finite numbers; vector {row} holds NaN or infinity")])
