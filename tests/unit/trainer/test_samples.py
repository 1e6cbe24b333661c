"""Labels, point-in-time histories, and the split by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from loreline.client import unpack_user
from services.model_registry import UNKNOWN
from services.trainer import samples as sampling
from services.trainer.datasets import Dataset
from services.trainer.offline_store import preference_count, preference_histories
from services.trainer.samples import EmptySplit


@pytest.fixture(scope="module")
def joined(dataset: Dataset, feature_directory: Path) -> pd.DataFrame:
    """Every sample with its history."""
    return sampling.with_histories(sampling.labelled(dataset), feature_directory)


def test_a_history_holds_exactly_what_came_before_its_second(dataset: Dataset, joined: pd.DataFrame) -> None:
    """The offline store's join equals a search through the log; two films of one second never see each other."""
    log = dataset.interactions
    for row in joined.iloc[::37].itertuples():
        earlier = log[(log["user_id"] == row.user_id) & (log["time"] < row.time)]
        assert unpack_user(row.history).item_ids == earlier["item_id"].tolist()[-50:]


def test_the_join_keeps_every_sample_in_its_place(dataset: Dataset, joined: pd.DataFrame) -> None:
    """Equal moments of a user are joined once and dealt out again."""
    log = sampling.labelled(dataset)
    pd.testing.assert_frame_equal(joined.drop(columns="history"), log)


def test_labels_start_after_the_interactions_that_knowledge_is_made_of(dataset: Dataset) -> None:
    """No label is ever told in a prompt."""
    told = {
        (history.user_id, entry.item.item_id)
        for history, _ in preference_histories(dataset)
        for entry in history.entries
    }
    asked = set(zip(*sampling.labelled(dataset)[["user_id", "item_id"]].to_numpy().T, strict=True))
    assert not told & asked
    assert len(told) + len(asked) == len(dataset.interactions)


@pytest.mark.parametrize(("length", "count"), [(1, 1), (2, 1), (9, 5), (60, 30), (1000, 30)])
def test_knowledge_is_made_of_half_of_the_interactions_and_30_at_most(length: int, count: int) -> None:
    """N = min((length + 1) // 2, 30)."""
    assert preference_count(length) == count


def test_a_rating_above_the_scenarios_bound_is_positive(dataset: Dataset) -> None:
    """For films: above 3."""
    log = sampling.labelled(dataset)
    assert (log["label"] == (log["rating"] > 3)).all()


def test_the_parts_follow_each_other_in_time_and_share_no_moment(dataset: Dataset) -> None:
    """Training ends before validation begins, and that before the test."""
    log = sampling.labelled(dataset)
    validation_from, test_from = sampling.split_times(log)
    time = log["time"]
    assert time.min() < validation_from < test_from <= time.max()
    assert 0.7 < (time < validation_from).mean() <= 0.8


def test_items_first_seen_after_training_have_the_unknown_index(dataset: Dataset, joined: pd.DataFrame) -> None:
    """As in serving."""
    vocabulary = sampling.vocabulary_of(dataset, before=int(dataset.interactions["time"].iloc[200]))
    encoded = sampling.encode(joined, dataset, vocabulary, {}, {}, history_length=10)
    known = set(vocabulary.item_ids)
    for item_id, index in zip(joined["item_id"], encoded.item_index, strict=True):
        assert (index == UNKNOWN) == (item_id not in known)


def test_histories_are_cut_to_the_newest_and_padded_at_the_end(dataset: Dataset, joined: pd.DataFrame) -> None:
    """Oldest first; a longer one loses its oldest entries."""
    vocabulary = sampling.vocabulary_of(dataset, before=2**40)
    encoded = sampling.encode(joined, dataset, vocabulary, {}, {}, history_length=100)
    cut = sampling.encode(joined, dataset, vocabulary, {}, {}, history_length=10)
    lengths = (encoded.history_index > 0).sum(axis=1)
    for row in (0, len(joined) // 2, len(joined) - 1):
        assert (encoded.history_index[row, lengths[row] :] == 0).all()
        newest = encoded.history_index[row, lengths[row] - 10 : lengths[row]]
        np.testing.assert_array_equal(cut.history_index[row], newest)


def test_a_part_with_labels_of_one_kind_is_refused(dataset: Dataset, joined: pd.DataFrame) -> None:
    """No AUC could be told of it."""
    vocabulary = sampling.vocabulary_of(dataset, before=2**40)
    encoded = sampling.encode(joined.assign(label=1.0), dataset, vocabulary, {}, {}, history_length=5)
    with pytest.raises(EmptySplit, match="training part"):
        sampling.split(joined, encoded)
