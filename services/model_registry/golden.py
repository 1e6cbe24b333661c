"""Golden sets: requests with the scores that the trained network gave, by which a loaded version proves itself.

A version registered before there were golden sets has none: it can only be checked for finite numbers and shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from services.model_registry.file_hashes import file_hash
from services.model_registry.manifest import DOMAIN, NO_DOMAIN, SCORER_INPUTS, Manifest, scorer_inputs_of
from services.model_registry.registry import UNKNOWN

GOLDEN_FILE = "golden.npz"
TOLERANCE = 1e-4
FALLBACK_ROWS = 20  # candidates, and vectors, of a check without a golden set
Floats = npt.NDArray[np.float32]
Subject = Literal["item", "user"]
Score = Callable[[Mapping[str, npt.NDArray[Any]]], Floats]  # scorer_inputs_of(kind) with B = 1 to (1, C)
Adapt = Callable[[Subject, Floats], Floats]  # (N, K) to (N, A)
SUBJECTS: tuple[Subject, ...] = ("item", "user")


class VersionRefused(Exception):
    """A version is not what the trainer registered; the message says what is wrong and by how much."""


@dataclass(frozen=True)
class GoldenSet:
    """N requests of C candidates as scorer_inputs_of(kind) with B = N, their `scores` (N, C), and vectors by subject.

    `knowledge[subject]` is (M, K) and `augmented[subject]` (M, A), what the adaptor makes of it; all float32.
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    scores: Floats
    knowledge: Mapping[Subject, Floats]
    augmented: Mapping[Subject, Floats]

    def write(self, folder: Path) -> str:
        """Write golden.npz and return its SHA-256."""
        path = folder / GOLDEN_FILE
        vectors = {f"{subject}_knowledge": self.knowledge[subject] for subject in SUBJECTS}
        adapted = {f"{subject}_adapted": self.augmented[subject] for subject in SUBJECTS}
        arrays: dict[str, Any] = {**self.inputs, **vectors, **adapted, "scores": self.scores}
        np.savez_compressed(path, **arrays)
        return file_hash(path)

    @classmethod
    def read(cls, folder: Path) -> GoldenSet | None:
        """Read what `write` wrote; None where there is none. Raises VersionRefused for a file that cannot be read."""
        path = folder / GOLDEN_FILE
        if not path.exists():
            return None
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return cls(
                    {name: file[name] for name in (*SCORER_INPUTS, *({DOMAIN} & {*file.files}))},
                    file["scores"],
                    {subject: file[f"{subject}_knowledge"] for subject in SUBJECTS},
                    {subject: file[f"{subject}_adapted"] for subject in SUBJECTS},
                )
        except Exception as error:  # zipfile, zlib and NumPy each have errors of their own
            raise VersionRefused(f"{GOLDEN_FILE} cannot be read: {error!r}") from error


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare the version's files with the hashes of its manifest. Raises VersionRefused."""
    for name, expected in manifest.file_hashes.items():
        path = folder / name
        if not path.exists():
            raise VersionRefused(f"{name} is missing")
        if file_hash(path) != expected:
            raise VersionRefused(f"{name} is not the file that was registered: its SHA-256 is another")


def verify_scorer(score: Score, manifest: Manifest, golden: GoldenSet | None) -> float | None:
    """Let the scorer answer the golden requests; returns the largest difference, None where nothing could be compared.

    Raises VersionRefused for a wrong shape, numbers that are not finite, or scores off by more than TOLERANCE.
    """
    if golden is None:
        inputs = blank_inputs(manifest)
        _check_numbers("scores", score(inputs), inputs["item_id"].shape)
        return None
    requests = [{name: values[n : n + 1] for name, values in golden.inputs.items()} for n in range(len(golden.scores))]
    found = [_check_numbers("scores", score(inputs), inputs["item_id"].shape) for inputs in requests]
    return _check_difference("scores", np.concatenate(found), golden.scores)


def verify_adaptor(adapt: Adapt, manifest: Manifest, golden: GoldenSet | None) -> float | None:
    """As verify_scorer, for the augmented vectors of items and users."""
    differences = [0.0]
    for subject in SUBJECTS:
        vectors = golden.knowledge[subject] if golden else _random_vectors(manifest)
        if not len(vectors):
            continue
        name, shape = f"augmented vectors of {subject}s", (len(vectors), manifest.augmented_dimension)
        found = _check_numbers(name, adapt(subject, vectors), shape)
        if golden:
            differences.append(_check_difference(name, found, golden.augmented[subject]))
    return max(differences) if golden else None


def check_augmented(vectors: Floats, manifest: Manifest) -> None:
    """Whether (N, A) vectors have the version's width and finite numbers. Raises VersionRefused."""
    _check_numbers("augmented vectors", vectors, (len(vectors), manifest.augmented_dimension))


def _check_numbers(name: str, found: Floats, shape: tuple[int, ...]) -> Floats:
    if found.shape != shape:
        raise VersionRefused(f"{name} have shape {found.shape}, expected {shape}")
    if wrong := int(np.count_nonzero(~np.isfinite(found))):
        raise VersionRefused(f"{wrong} of {found.size} {name} are NaN or infinite")
    return found


def _check_difference(name: str, found: Floats, expected: Floats) -> float:
    if found.shape != expected.shape:
        raise VersionRefused(f"{name} have shape {found.shape}, the golden set's {expected.shape}")
    difference = float(np.abs(found - expected).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise VersionRefused(
            f"{name} are off by up to {difference:.4g} from the trained network's; allowed: {TOLERANCE}"
        )
    return difference


def blank_inputs(manifest: Manifest, candidates: int = FALLBACK_ROWS) -> dict[str, npt.NDArray[Any]]:
    """Valid inputs of a version's scorer: one request for unknown candidates and a user without history."""
    sizes = {
        "B": 1,
        "C": candidates,
        "F": len(manifest.item_fields),
        "A": manifest.augmented_dimension,
        "L": manifest.history_length,
    }
    expected = scorer_inputs_of(manifest.kind)
    shapes = {name: ([sizes[letter] for letter in shape], dtype) for name, (dtype, shape) in expected.items()}
    inputs: dict[str, npt.NDArray[Any]] = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    unknown = {"item_id": (UNKNOWN, (1, candidates)), DOMAIN: (NO_DOMAIN, (1,))}
    return inputs | {name: np.full(shape, value) for name, (value, shape) in unknown.items() if name in inputs}


def _random_vectors(manifest: Manifest) -> Floats:
    shape = (FALLBACK_ROWS, manifest.knowledge_dimension)
    return np.random.default_rng(0).normal(0, 1 / np.sqrt(shape[1]), shape).astype(np.float32)
