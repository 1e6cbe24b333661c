"""Columns, point-in-time histories, and the splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from feature_repo.store import apply_definitions, open_store
from loreline.client import unpack_user
from services.knowledge.prompts import PromptStyle, render
from services.knowledge.providers.catalogue import compose
from services.model_registry import UNKNOWN
from services.scenarios import Item, load_scenario
from services.trainer import samples as sampling
from services.trainer.columns import Columns, columns_of, sample_rows
from services.trainer.datasets import Dataset
from services.trainer.networks import KnowledgeTables, Lookup, NetworkInputs
from services.trainer.offline_store import preference_count, preference_histories
from services.trainer.samples import EmptySplit, ItemTable, Protocol, Samples


@pytest.fixture(scope="module")
def columns(dataset: Dataset) -> Columns:
    """The log."""
    return columns_of(dataset)[0]


@pytest.fixture(scope="module")
def samples(columns: Columns) -> Samples:
    """Every sample."""
    return sampling.impressions(columns)


@pytest.fixture(scope="module")
def user_ids(dataset: Dataset) -> list[str]:
    """User ids by code."""
    return columns_of(dataset)[1]


def looked_up(
    dataset: Dataset, columns: Columns, samples: Samples, length: int, chosen: np.ndarray
) -> tuple[NetworkInputs, ItemTable]:
    vocabulary = sampling.vocabulary_of(dataset, columns, samples, "by-time")
    items, nobody = ItemTable.of(dataset, vocabulary), np.zeros(columns.user_count, dtype=np.int64)
    none = np.zeros((1, 4), dtype=np.float32)
    tables = KnowledgeTables(none, none, np.zeros(len(dataset.items), dtype=np.int64), nobody)
    lookup = Lookup(columns, items, tables, length, torch.device("cpu"))
    return lookup.inputs(samples, chosen), items


def test_a_history_holds_exactly_what_came_before_its_second(
    dataset: Dataset, columns: Columns, samples: Samples, user_ids: list[str]
) -> None:
    """It equals a search through the log; two films of one second never see each other."""
    chosen = np.arange(0, len(samples), 37)
    inputs, items = looked_up(dataset, columns, samples, 50, chosen)
    log, codes = dataset.interactions, {item_id: code for code, item_id in enumerate(dataset.items)}
    for place, row in enumerate(samples.row[chosen]):
        earlier = log[(log["user_id"] == user_ids[columns.user[row]]) & (log["time"] < columns.time[row])]
        expected = [int(items.index[codes[item_id]]) for item_id in earlier["item_id"]][-50:]
        assert inputs.batch.history_item_id[place].tolist() == expected + [0] * (50 - len(expected))
        ratings = inputs.batch.history_rating[place, : len(expected)].tolist()
        assert ratings == earlier["rating"].tolist()[-50:]


def test_a_history_equals_what_the_offline_store_knew_at_that_moment(
    dataset: Dataset, feature_directory: Path, columns: Columns, samples: Samples, user_ids: list[str]
) -> None:
    """Feast's point-in-time join and the columns agree, so that training reads what serving would have read."""
    store = open_store(feature_directory)
    apply_definitions(store, feature_directory)
    chosen = np.arange(0, len(samples), 23)
    inputs, items = looked_up(dataset, columns, samples, 50, chosen)
    moments = pd.DataFrame(
        {
            "user_id": [user_ids[code] for code in columns.user[samples.row[chosen]]],
            "event_timestamp": pd.to_datetime(columns.time[samples.row[chosen]] - 1, unit="s", utc=True),
            "place": chosen,
        }
    )
    joined = store.get_historical_features(moments, ["user_history:packed"]).to_df().set_index("place")
    codes = {item_id: code for code, item_id in enumerate(dataset.items)}
    for place, number in enumerate(chosen):
        known = unpack_user(joined.loc[number, "packed"])
        expected = [int(items.index[codes[item_id]]) for item_id in known.item_ids]
        assert [index for index in inputs.batch.history_item_id[place].tolist() if index] == expected


def test_histories_are_cut_to_the_newest_and_padded_at_the_end(
    dataset: Dataset, columns: Columns, samples: Samples
) -> None:
    """Oldest first; a longer one loses its oldest entries."""
    chosen = np.array([0, len(samples) // 2, len(samples) - 1])
    whole, _ = looked_up(dataset, columns, samples, 100, chosen)
    cut, _ = looked_up(dataset, columns, samples, 10, chosen)
    for row in range(3):
        entries = [index for index in whole.batch.history_item_id[row].tolist() if index]
        assert whole.batch.history_item_id[row, : len(entries)].tolist() == entries
        assert cut.batch.history_item_id[row].tolist() == entries[-10:]
        assert not whole.batch.history_fields[row, len(entries) :].any()


def test_a_user_without_a_past_has_an_empty_history(dataset: Dataset, columns: Columns) -> None:
    """All padding."""
    first = Samples(columns.user_start[:-1], columns.item[columns.user_start[:-1], None], np.zeros((40, 1)))
    inputs, _ = looked_up(dataset, columns, first, 5, np.arange(40))
    assert not inputs.batch.history_item_id.any()


def test_samples_start_after_the_interactions_that_knowledge_is_made_of(
    dataset: Dataset, columns: Columns, samples: Samples, user_ids: list[str]
) -> None:
    """No label is ever told in a prompt."""
    told = {
        (history.user_id, entry.item.item_id)
        for history, _ in preference_histories(dataset)
        for entry in history.entries
    }
    ids = list(dataset.items)
    asked = {(user_ids[columns.user[row]], ids[columns.item[row]]) for row in samples.row}
    assert not told & asked
    assert len(told) + len(asked) == len(dataset.interactions)


def test_nothing_that_comes_after_the_first_n_reaches_a_prompt_or_a_vector(dataset: Dataset, columns: Columns) -> None:
    """Every later interaction gets a marked item and rating; no question and no composed text shows either.

    A vector is a function of such a text alone.
    """
    order = np.argsort(pd.factorize(dataset.interactions["user_id"])[0], kind="stable")
    later = np.zeros(len(dataset.interactions), dtype=bool)
    later[order[sample_rows(columns)]] = True
    marked = dataset.interactions.assign(
        rating=np.where(later, 4.75, dataset.interactions["rating"]),
        item_id=np.where(later, "sentinel", dataset.interactions["item_id"]),
    )
    items = {**dataset.items, "sentinel": Item("sentinel", "movies", "Sentinel", {"genres": ["Sentinel"]})}
    scenario = load_scenario("movies")
    for history, _ in preference_histories(replace(dataset, items=items, interactions=marked)):
        asked = render(history, scenario, PromptStyle.OPEN)
        texts = f"{asked.system} {asked.user} {compose(history, scenario)}"
        assert "entinel" not in texts
        assert "4.75" not in texts


@pytest.mark.parametrize(("length", "count"), [(1, 1), (2, 1), (9, 5), (60, 30), (1000, 30)])
def test_knowledge_is_made_of_half_of_the_interactions_and_30_at_most(length: int, count: int) -> None:
    """N = min((length + 1) // 2, 30)."""
    assert preference_count(length) == count


def test_a_rating_above_the_scenarios_bound_is_positive(columns: Columns, samples: Samples) -> None:
    """For films: above 3."""
    assert ((columns.rating[samples.row] > 3) == samples.label[:, 0]).all()


def test_the_parts_follow_each_other_in_time_and_share_no_moment(columns: Columns, samples: Samples) -> None:
    """Training ends before validation begins, and that before the test."""
    split = sampling.split(columns, samples, "by-time", seed=0)
    times = [columns.time[part.row] for part in (split.training, split.validation, split.test)]
    assert times[0].max() < times[1].min()
    assert times[1].max() < times[2].min()
    assert sum(map(len, times)) == len(samples)
    assert 0.7 < len(split.training) / len(samples) <= 0.8


def test_each_user_belongs_to_one_part(columns: Columns, samples: Samples) -> None:
    """A tenth of the users is tested, and a tenth of the others is for validation."""
    split = sampling.split(columns, samples, "by-user", seed=5)
    users = [set(columns.user[part.row].tolist()) for part in (split.training, split.validation, split.test)]
    assert [len(part) for part in users] == [32, 4, 4]
    assert len(users[0] | users[1] | users[2]) == 40


def test_the_split_seed_deals_out_other_users(columns: Columns, samples: Samples) -> None:
    """And the same seed the same ones."""
    tested = [set(columns.user[sampling.split(columns, samples, "by-user", seed).test.row]) for seed in (1, 1, 2)]
    assert tested[0] == tested[1] != tested[2]


@pytest.mark.parametrize("protocol", ["by-time", "by-user"])
def test_items_that_training_never_saw_have_the_unknown_index(
    dataset: Dataset, columns: Columns, samples: Samples, protocol: Protocol
) -> None:
    """As in serving."""
    few = sampling.split(columns, samples, protocol, seed=1).training.take(np.arange(3))
    vocabulary = sampling.vocabulary_of(dataset, columns, few, protocol)
    table, known = ItemTable.of(dataset, vocabulary), set(vocabulary.item_ids)
    assert 0 < len(known) < len(dataset.items)
    for item_id, index in zip(dataset.items, table.index, strict=True):
        assert (index == UNKNOWN) == (item_id not in known)


def test_a_part_with_labels_of_one_kind_is_refused(columns: Columns, samples: Samples) -> None:
    """No AUC could be told of it."""
    with pytest.raises(EmptySplit, match="training part"):
        sampling.split(columns, replace(samples, label=np.ones_like(samples.label)), "by-time", seed=0)


def test_mapped_columns_are_those_that_were_saved(columns: Columns, tmp_path: Path) -> None:
    """Read from files, not held in memory."""
    columns.save(tmp_path)
    mapped = Columns.map(tmp_path)
    assert isinstance(mapped.item, np.memmap)
    for name, column in vars(columns).items():
        np.testing.assert_array_equal(column, getattr(mapped, name))
