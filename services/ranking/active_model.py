"""The model version that scores: loaded whole, then put in the place of the one before by one assignment."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from services.model_registry import SCORER_INPUTS, UNKNOWN, Manifest, ModelRegistry, Vocabulary
from services.ranking.item_cache import Interner
from services.ranking.scorers import Scorer
from services.runtime.errors import FailedPrecondition

WARM_UP_CANDIDATES = 200
OpenScorer = Callable[[str, Path], Scorer]  # of a version and its folder
log = structlog.get_logger(__name__)


class FieldTable:
    """Translates the cache's codes of field values to one vocabulary's indices; grows as new values are seen."""

    def __init__(self, vocabulary: Vocabulary, interner: Interner) -> None:
        self._vocabulary, self._interner = vocabulary, interner
        self._fields = len(vocabulary.fields)
        self._table = self._rows(0, len(interner.values))

    def indices(self, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """(N, F) indices of (N, F) codes."""
        table = self._table
        if codes.size and int(codes.max()) >= len(table):
            new = self._rows(len(table), len(self._interner.values))
            table = self._table = np.concatenate([table, new])  # two threads at once build the same
        return table[codes, np.arange(self._fields)]

    def _rows(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        values = self._interner.values[start:stop]
        rows = [self._vocabulary.field_indices([value] * self._fields) for value in values]
        return np.array(rows, dtype=np.int64).reshape(len(rows), self._fields)


@dataclass(frozen=True)
class ServingModel:
    """One version, all halves of it that ranking needs. A request takes one and keeps it to its end."""

    manifest: Manifest
    vocabulary: Vocabulary
    fields: FieldTable
    scorer: Scorer


class ActiveModel:
    """Follows the registry's active pointer in a thread.

    A version is loaded and has scored once before requests see it. One that cannot be loaded is logged and tried
    again, while the version before goes on to serve.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        open_scorer: OpenScorer,
        interner: Interner,
        *,
        poll_seconds: float = 0.2,
        max_retry_backoff_seconds: float = 5.0,
    ) -> None:
        self._registry, self._open_scorer, self._interner = registry, open_scorer, interner
        self._poll_seconds, self._max_backoff = poll_seconds, max_retry_backoff_seconds
        self._model: ServingModel | None = None
        self._failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="active model", daemon=True)

    def start(self) -> None:
        """Load the active version, if there is one, and go on in the background."""
        self._follow()
        self._thread.start()

    def stop(self) -> None:
        """Follow the pointer no more."""
        self._stopping.set()
        self._thread.join(timeout=self._max_backoff)

    def current(self) -> ServingModel:
        """The version that scores now. Raises FailedPrecondition before any promotion."""
        model = self._model
        if model is None:
            raise FailedPrecondition(
                "no model version is loaded: train one with `loreline train`, then run `loreline models promote`"
            )
        return model

    def ready(self) -> bool:
        """Whether a version is loaded and its scorer answers."""
        model = self._model
        return model is not None and model.scorer.ready()

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_seconds()):
            self._follow()

    def _follow(self) -> None:
        version: str | None = None
        try:
            version = self._registry.active()
            if version is not None and (self._model is None or self._model.manifest.version != version):
                self._model = self._load(version)
                log.info("model version loaded", model_version=version)
            self._failures = 0
        except Exception as error:  # whatever is wrong with a version must not end the following of the next one
            self._failures += 1
            log.error("the model version cannot be loaded", model_version=version, error=str(error))

    def _load(self, version: str) -> ServingModel:
        manifest, vocabulary = self._registry.manifest(version), self._registry.vocabulary(version)
        scorer = self._open_scorer(version, self._registry.folder(version))
        scorer.score(warm_up_inputs(manifest))
        return ServingModel(manifest, vocabulary, FieldTable(vocabulary, self._interner), scorer)

    def _pause_seconds(self) -> float:
        if not self._failures:
            return self._poll_seconds
        return min(self._max_backoff, self._poll_seconds * 2.0 ** min(self._failures, 30)) * random.uniform(0.5, 1)


def warm_up_inputs(manifest: Manifest) -> dict[str, npt.NDArray[np.generic]]:
    """Valid inputs of a version's scorer: 200 unknown candidates for a user without history."""
    sizes = {
        "B": 1,
        "C": WARM_UP_CANDIDATES,
        "F": len(manifest.item_fields),
        "A": manifest.augmented_dimension,
        "L": manifest.history_length,
    }
    inputs = {
        name: np.zeros([sizes[letter] for letter in shape], dtype=dtype)
        for name, (dtype, shape) in SCORER_INPUTS.items()
    }
    return inputs | {"item_id": np.full((1, WARM_UP_CANDIDATES), UNKNOWN, dtype=np.int64)}
