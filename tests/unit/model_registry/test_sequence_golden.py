"""A unictr version proves itself network by network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_versions import manifest

from services.model_registry import Manifest, SequenceGolden, VersionRefused, verify_networks

IDS = np.arange(12, dtype=np.int64).reshape(3, 4)
MASK = np.ones((3, 4), dtype=np.int64)
RIGHT = {"movies": np.float32([0.1, 0.2, -0.3]), "general": np.float32([1.0, -1.0, 0.0])}


@pytest.fixture
def version() -> Manifest:
    update = {"kind": "unictr", "scenario": "", "scenarios": ["movies"]}
    return Manifest.model_validate(manifest("1").model_dump() | update)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, logits in RIGHT.items():
        SequenceGolden(IDS, MASK, logits).write(tmp_path, name)
    return tmp_path


def test_the_right_networks_pass(version: Manifest, folder: Path) -> None:
    """With the largest difference of their probabilities."""
    difference = verify_networks(lambda name, *_: RIGHT[name] + np.float32(1e-4), version, folder)
    assert difference == pytest.approx(2.5e-5, rel=0.1)


def test_networks_that_were_mixed_up_are_refused(version: Manifest, folder: Path) -> None:
    """The message names the network."""
    other = {"movies": "general", "general": "movies"}
    with pytest.raises(VersionRefused, match="network 'movies': probabilities are off"):
        verify_networks(lambda name, *_: RIGHT[other[name]], version, folder)


def test_without_golden_sets_shape_and_numbers_are_checked(version: Manifest, tmp_path: Path) -> None:
    """NaN and a wrong count are refused; otherwise nothing could be compared."""
    assert verify_networks(lambda _, ids, __: np.zeros(len(ids), np.float32), version, tmp_path) is None
    with pytest.raises(VersionRefused, match="NaN"):
        verify_networks(lambda _, ids, __: np.full(len(ids), np.nan, np.float32), version, tmp_path)
    with pytest.raises(VersionRefused, match="shape"):
        verify_networks(lambda _, ids, __: np.zeros((len(ids), 1), np.float32), version, tmp_path)


def test_a_golden_set_that_cannot_be_read_refuses_the_version(version: Manifest, folder: Path) -> None:
    """Rather than pass unchecked."""
    (folder / "golden-general.npz").write_bytes(b"cut")
    with pytest.raises(VersionRefused, match="cannot be read"):
        verify_networks(lambda name, *_: RIGHT[name], version, folder)
