"""Scores inside this process, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnxruntime

from services.model_registry import SCORER_OUTPUT
from services.model_registry.unictr_files import (
    ATTENTION_MASK,
    LANGUAGE_MODEL_FILE,
    LOGITS,
    SEQUENCE_INPUTS,
    STATES,
    network_file,
)
from services.ranking.scorers import Scored, ScorerInputs
from services.runtime.errors import DeadlineExceeded


class InProcessScorer:
    """Runs scorer.onnx with `threads` threads for each call."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._session = _session(path, threads)

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        """As services.ranking.scorers.Scorer. A run that has begun is not broken off."""
        _check_time(timeout_seconds)
        return Scored(self._session.run([SCORER_OUTPUT], dict(inputs))[0], "IN_PROCESS")

    def ready(self) -> bool:
        """Always: the model is loaded."""
        return True


class InProcessNetwork:
    """Runs language_model.onnx, then one network on its states."""

    def __init__(self, language_model: onnxruntime.InferenceSession, network: onnxruntime.InferenceSession) -> None:
        self._language_model, self._network = language_model, network

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        """As services.ranking.scorers.Scorer, for SEQUENCE_INPUTS. A run that has begun is not broken off."""
        _check_time(timeout_seconds)
        states = self._language_model.run([STATES], {name: inputs[name] for name in SEQUENCE_INPUTS})[0]
        given = {STATES: states, ATTENTION_MASK: inputs[ATTENTION_MASK]}
        return Scored(self._network.run([LOGITS], given)[0], "IN_PROCESS")

    def ready(self) -> bool:
        """Always: both are loaded."""
        return True


def open_networks(folder: Path, names: Iterable[str], threads: int = 1) -> dict[str, InProcessNetwork]:
    """The networks of a unictr version by name; they share one language model, and run with `threads` threads."""
    language_model = _session(folder / LANGUAGE_MODEL_FILE, threads)
    return {name: InProcessNetwork(language_model, _session(folder / network_file(name), threads)) for name in names}


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, options)


def _check_time(timeout_seconds: float | None) -> None:
    if timeout_seconds is not None and timeout_seconds <= 0:
        raise DeadlineExceeded("no time was left to score")
