"""What benchmarks/training.py hands to the other library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.training import data_of, write_for_fuxictr
from services.model_registry import PADDING
from services.trainer.data.datasets import Dataset
from services.trainer.training.config import read_config
from services.trainer.training.run import TrainingData

LENGTH = 7


@pytest.fixture(scope="module")
def data(dataset: Dataset) -> TrainingData:
    """The samples of a small log, by user."""
    return data_of(dataset, read_config("din").model_copy(update={"protocol": "by-user"}))


@pytest.fixture(scope="module")
def folder(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files."""
    written = tmp_path_factory.mktemp("written")
    write_for_fuxictr(data, LENGTH, written)
    return written


@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_both_sides_train_on_the_same_samples(folder: Path, data: TrainingData, part: str) -> None:
    """Candidates, labels and histories are those of the split, found by a walk through the log."""
    samples, log, index = getattr(data.split, part), data.log, data.items.index
    with np.load(folder / f"{part}.npz") as written:
        np.testing.assert_array_equal(written["item"], index[samples.item[:, 0]])
        np.testing.assert_array_equal(written["label"], samples.label[:, 0])
        for place in range(0, len(samples), 29):
            row = samples.row[place]
            before = (log.user == log.user[row]) & (log.time < log.time[row])
            past = np.flatnonzero(before)[-LENGTH:]
            padding = [PADDING] * (LENGTH - len(past))
            assert written["history_item"][place].tolist() == [*index[log.item[past]], *padding]
            assert written["history_rating"][place].tolist() == [*(2 * log.rating[past]), *padding]


def test_every_index_has_a_row_in_its_embedding(folder: Path) -> None:
    """Sizes name each column but the label, and are above its largest index."""
    sizes = json.loads((folder / "sizes.json").read_text())["sizes"]
    for part in ("training", "validation", "test"):
        with np.load(folder / f"{part}.npz") as written:
            assert set(written) == {*sizes, "label"}
            assert all(written[name].min() >= 0 and written[name].max() < size for name, size in sizes.items())
