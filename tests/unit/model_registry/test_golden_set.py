"""A version proves itself by its golden set, before anything depends on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from services.model_registry import (
    GOLDEN_FILE,
    GoldenSet,
    ModelRegistry,
    VersionRefused,
    verify_adaptor,
    verify_files,
    verify_scorer,
)
from tests.model_versions import expected_scores, golden_set, manifest, register_version, weights

Distort = Callable[[np.ndarray], np.ndarray]
WRONG: dict[str, tuple[Distort, str]] = {
    "one NaN": (lambda scores: np.where(np.arange(scores.shape[-1]) == 2, np.nan, scores), "1 of 6 scores are NaN"),
    "infinite": (lambda scores: scores / np.float32(0), "6 of 6 scores are NaN or infinite"),
    "cut": (lambda scores: scores[:, :-1], r"scores have shape \(1, 5\), expected \(1, 6\)"),
    "off": (lambda scores: scores + np.float32(0.01), r"off by up to 0\.01 from the trained network's"),
}


@pytest.fixture
def golden() -> GoldenSet:
    return golden_set(seed=1)


def adapt(subject: str, vectors: np.ndarray) -> np.ndarray:
    return vectors @ weights(1)[f"{subject}_weight"]


def test_a_golden_set_survives_its_file(golden: GoldenSet, tmp_path: Path) -> None:
    """Every array, and the hash is the file's."""
    digest = golden.write(tmp_path)
    read = GoldenSet.read(tmp_path)
    assert read is not None
    assert digest == hashlib.sha256((tmp_path / GOLDEN_FILE).read_bytes()).hexdigest()
    np.testing.assert_array_equal(read.scores, golden.scores)
    for name, values in golden.inputs.items():
        np.testing.assert_array_equal(read.inputs[name], values)
        assert read.inputs[name].dtype == values.dtype
    np.testing.assert_array_equal(read.augmented["user"], golden.augmented["user"])


def test_the_registered_halves_pass(tmp_path: Path) -> None:
    """The exported scorer answers one request at a time, as it will in serving."""
    registry = ModelRegistry(tmp_path)
    version = register_version(registry)
    folder = registry.folder(version)
    session = onnxruntime.InferenceSession(folder / "scorer.onnx")
    difference = verify_scorer(
        lambda inputs: session.run(None, dict(inputs))[0], manifest(version), GoldenSet.read(folder)
    )
    assert difference is not None
    assert difference < 1e-5


@pytest.mark.parametrize("name", WRONG)
def test_wrong_scores_are_refused_with_what_is_wrong(golden: GoldenSet, name: str) -> None:
    """How many numbers, which shape, or off by how much."""
    distort, message = WRONG[name]
    with np.errstate(divide="ignore"), pytest.raises(VersionRefused, match=message):
        verify_scorer(lambda inputs: distort(expected_scores(1, inputs)), manifest("1"), golden)


@pytest.mark.parametrize("subject", ["item", "user"])
def test_a_wrong_adaptor_is_refused_with_the_side(golden: GoldenSet, subject: str) -> None:
    """Half a version must not pass on the other half's account."""

    def half_wrong(side: str, vectors: np.ndarray) -> np.ndarray:
        return adapt(side, vectors) * (2 if side == subject else 1)

    assert verify_adaptor(adapt, manifest("1"), golden) == pytest.approx(0, abs=1e-6)
    with pytest.raises(VersionRefused, match=f"augmented vectors of {subject}s are off by"):
        verify_adaptor(half_wrong, manifest("1"), golden)


def test_without_a_golden_set_only_shape_and_finite_numbers_count() -> None:
    """None says that nothing was compared; NaN and a wrong width are found all the same."""
    any_scores = np.zeros((1, 20), dtype=np.float32)
    assert verify_scorer(lambda _: any_scores, manifest("1"), None) is None
    assert verify_adaptor(adapt, manifest("1"), None) is None
    with pytest.raises(VersionRefused, match="20 of 20 scores are NaN"):
        verify_scorer(lambda _: any_scores * np.nan, manifest("1"), None)
    with pytest.raises(VersionRefused, match="have shape"):
        verify_adaptor(lambda side, vectors: adapt(side, vectors)[:, :2], manifest("1"), None)


def test_an_older_version_without_a_golden_set_has_none(tmp_path: Path) -> None:
    """That is no error."""
    registry = ModelRegistry(tmp_path)
    version = register_version(registry, golden=False)
    assert GoldenSet.read(registry.folder(version)) is None
    verify_files(registry.folder(version), registry.manifest(version))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04cut"])
def test_a_broken_golden_set_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is not taken for none at all."""
    (tmp_path / GOLDEN_FILE).write_bytes(content)
    with pytest.raises(VersionRefused, match=r"golden\.npz cannot be read"):
        GoldenSet.read(tmp_path)


def test_changed_and_missing_files_are_named(golden: GoldenSet, tmp_path: Path) -> None:
    """Against the hashes of the manifest."""
    bound = manifest("1").model_copy(update={"file_hashes": {GOLDEN_FILE: golden.write(tmp_path)}})
    verify_files(tmp_path, bound)
    (tmp_path / GOLDEN_FILE).write_bytes(b"other")
    with pytest.raises(VersionRefused, match=r"golden\.npz is not the file that was registered"):
        verify_files(tmp_path, bound)
    (tmp_path / GOLDEN_FILE).unlink()
    with pytest.raises(VersionRefused, match=r"golden\.npz is missing"):
        verify_files(tmp_path, bound)
