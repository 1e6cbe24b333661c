"""The second stage: the promoted re-ranker puts the first places of a list in order, knowing the list as a whole."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from services.model_registry import Manifest, ModelRegistry, blank_inputs
from services.model_registry.rerankers import RERANKER_FILE, RerankerManifest, RerankerRegistry
from services.ranking.loading import AnyModel
from services.ranking.scorers.in_process import InProcessScorer
from services.ranking.scoring_request import ScoringRequest

RETRY_SECONDS = 5.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Loaded:
    manifest: RerankerManifest
    network: InProcessScorer


class Reranking:
    """Follows the registry's pointer to the active re-ranker in a thread, and applies it to the first `top` places.

    It is applied to lists of the model version that it is bound to, and to no others: its inputs are that version's.
    While one cannot be loaded it is tried again every few seconds, and lists keep the scorer's order. It runs in this
    process.
    """

    def __init__(self, root: Path, top: int, *, threads: int = 1, poll_seconds: float = 0.2) -> None:
        self._models, self._rerankers = ModelRegistry(root), RerankerRegistry(root)
        self._top, self._threads, self._poll_seconds = top, threads, poll_seconds
        self._loaded: _Loaded | None = None
        self._seen: str | None = None
        self._next_try = float("inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="re-ranker", daemon=True)

    def start(self) -> None:
        """Load the active re-ranker, if there is one, and go on in the background."""
        self._follow()
        self._thread.start()

    def stop(self) -> None:
        """Follow the pointer no more."""
        self._stopping.set()
        self._thread.join()

    def applies_to(self, model: AnyModel) -> bool:
        """Whether a re-ranker is loaded that is bound to this version."""
        loaded = self._loaded
        return loaded is not None and loaded.manifest.base_version == model.manifest.version

    def order(
        self, asked: ScoringRequest, order: npt.NDArray[np.intp], seconds_left: float | None, use_knowledge: bool
    ) -> tuple[npt.NDArray[np.intp], int]:
        """The places (N,) of a list with its first ones in a new order, and how many those are.

        Ties keep the order given. Raises DeadlineExceeded.
        """
        loaded = self._loaded
        if loaded is None or loaded.manifest.base_version != asked.model.manifest.version or len(order) < 2:
            return order, 0
        first = order[: self._top]
        inputs = asked.only(first).inputs(use_knowledge, use_knowledge)
        scores = loaded.network.score(inputs, seconds_left).values[0]
        if not np.isfinite(scores).all():
            log.error("the re-ranker gave scores that are not finite numbers", reranker=loaded.manifest.number)
            return order, 0
        return np.concatenate([first[np.argsort(-scores, kind="stable")], order[self._top :]]), len(first)

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self._follow()

    def _follow(self) -> None:
        number = self._seen
        try:
            number = self._rerankers.active()
            if number == self._seen and time.monotonic() < self._next_try:
                return
            self._next_try = float("inf")
            self._loaded = self._load(number) if number else None
            log.info("re-ranker", reranker=number)
        except Exception as error:  # whatever is wrong with one must not end the following of the next one
            self._loaded, self._next_try = None, time.monotonic() + RETRY_SECONDS
            log.error("the re-ranker cannot be loaded", reranker=number, error=str(error))
        self._seen = number

    def _load(self, number: str) -> _Loaded:
        manifest = self._rerankers.manifest(number)
        network = InProcessScorer(self._rerankers.folder(number) / RERANKER_FILE, self._threads)
        _try(network, self._models.manifest(manifest.base_version), self._top)
        return _Loaded(manifest, network)


def _try(network: InProcessScorer, base: Manifest, top: int) -> None:
    """Let it order a list of its longest length once. Raises ValueError for what is no order."""
    scores = network.score(blank_inputs(base, top)).values
    if scores.shape != (1, top) or not np.isfinite(scores).all():
        raise ValueError(f"gave scores of shape {scores.shape}, expected finite ones of shape (1, {top})")
