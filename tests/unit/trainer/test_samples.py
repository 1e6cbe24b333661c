"""InteractionLog, point-in-time histories, and the splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from feature_repo.store import apply_definitions, open_store
from loreline.client import unpack_user
from loreline.domain import Item
from services.knowledge.prompts import PromptStyle, render
from services.knowledge.providers.catalogue import compose
from services.model_registry import UNKNOWN
from services.scenarios import load_scenario
from services.trainer.data import samples as sampling
from services.trainer.data.datasets import Dataset
from services.trainer.data.interaction_log import InteractionLog, interaction_log, sample_rows, told_count
from services.trainer.data.offline_store import preference_histories
from services.trainer.data.samples import EmptySplit, ItemTable, Samples, SplitProtocol
from services.trainer.training.batches import BatchBuilder, KnowledgeTables, NetworkInputs


@pytest.fixture(scope="module")
def log(dataset: Dataset) -> InteractionLog:
    """The log."""
    return interaction_log(dataset)[0]


@pytest.fixture(scope="module")
def samples(log: InteractionLog) -> Samples:
    """Every sample."""
    return sampling.impressions(log)


@pytest.fixture(scope="module")
def user_ids(dataset: Dataset) -> list[str]:
    """User ids by code."""
    return interaction_log(dataset)[1]


def looked_up(
    dataset: Dataset, log: InteractionLog, samples: Samples, length: int, chosen: np.ndarray
) -> tuple[NetworkInputs, ItemTable]:
    vocabulary = sampling.vocabulary_of(dataset, log, samples, "by-time")
    items, nobody = ItemTable.of(dataset, vocabulary), np.zeros(log.user_count, dtype=np.int64)
    none = np.zeros((1, 4), dtype=np.float32)
    tables = KnowledgeTables(none, none, np.zeros(len(dataset.items), dtype=np.int64), nobody)
    batches = BatchBuilder(log, items, tables, length, torch.device("cpu"))
    return batches.inputs(samples, chosen), items


def test_a_history_holds_exactly_what_came_before_its_second(
    dataset: Dataset, log: InteractionLog, samples: Samples, user_ids: list[str]
) -> None:
    """It equals a search through the log; two films of one second never see each other."""
    chosen = np.arange(0, len(samples), 37)
    inputs, items = looked_up(dataset, log, samples, 50, chosen)
    frame, codes = dataset.interactions, {item_id: code for code, item_id in enumerate(dataset.items)}
    for place, row in enumerate(samples.row[chosen]):
        earlier = frame[(frame["user_id"] == user_ids[log.user[row]]) & (frame["time"] < log.time[row])]
        expected = [int(items.index[codes[item_id]]) for item_id in earlier["item_id"]][-50:]
        assert inputs.batch.history_item_id[place].tolist() == expected + [0] * (50 - len(expected))
        ratings = inputs.batch.history_rating[place, : len(expected)].tolist()
        assert ratings == earlier["rating"].tolist()[-50:]


def test_a_history_equals_what_the_offline_store_knew_at_that_moment(
    dataset: Dataset, feature_directory: Path, log: InteractionLog, samples: Samples, user_ids: list[str]
) -> None:
    """Feast's point-in-time join and the log agree, so that training reads what serving would have read."""
    store = open_store(feature_directory)
    apply_definitions(store, feature_directory)
    chosen = np.arange(0, len(samples), 23)
    inputs, items = looked_up(dataset, log, samples, 50, chosen)
    moments = pd.DataFrame(
        {
            "user_id": [user_ids[code] for code in log.user[samples.row[chosen]]],
            "event_timestamp": pd.to_datetime(log.time[samples.row[chosen]] - 1, unit="s", utc=True),
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
    dataset: Dataset, log: InteractionLog, samples: Samples
) -> None:
    """Oldest first; a longer one loses its oldest entries."""
    chosen = np.array([0, len(samples) // 2, len(samples) - 1])
    whole, _ = looked_up(dataset, log, samples, 100, chosen)
    cut, _ = looked_up(dataset, log, samples, 10, chosen)
    for row in range(3):
        entries = [index for index in whole.batch.history_item_id[row].tolist() if index]
        assert whole.batch.history_item_id[row, : len(entries)].tolist() == entries
        assert cut.batch.history_item_id[row].tolist() == entries[-10:]
        assert not whole.batch.history_fields[row, len(entries) :].any()


def test_a_user_without_a_past_has_an_empty_history(dataset: Dataset, log: InteractionLog) -> None:
    """All padding."""
    first = Samples(log.user_start[:-1], log.item[log.user_start[:-1], None], np.zeros((40, 1)))
    inputs, _ = looked_up(dataset, log, first, 5, np.arange(40))
    assert not inputs.batch.history_item_id.any()


def test_samples_start_after_the_interactions_that_knowledge_is_made_of(
    dataset: Dataset, log: InteractionLog, samples: Samples, user_ids: list[str]
) -> None:
    """No label is ever told in a prompt."""
    told = {
        (history.user_id, entry.item.item_id)
        for history, _ in preference_histories(dataset)
        for entry in history.entries
    }
    ids = list(dataset.items)
    asked = {(user_ids[log.user[row]], ids[log.item[row]]) for row in samples.row}
    assert not told & asked
    assert len(told) + len(asked) == len(dataset.interactions)


def test_nothing_that_comes_after_the_first_n_reaches_a_prompt_or_a_vector(
    dataset: Dataset, log: InteractionLog
) -> None:
    """Every later interaction gets a marked item and rating; no question and no composed text shows either.

    A vector is a function of such a text alone.
    """
    order = np.argsort(pd.factorize(dataset.interactions["user_id"])[0], kind="stable")
    later = np.zeros(len(dataset.interactions), dtype=bool)
    later[order[sample_rows(log)]] = True
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
    assert told_count(length) == count


def test_a_rating_above_the_scenarios_bound_is_positive(log: InteractionLog, samples: Samples) -> None:
    """For films: above 3."""
    assert ((log.rating[samples.row] > 3) == samples.label[:, 0]).all()


def test_the_parts_follow_each_other_in_time_and_share_no_moment(log: InteractionLog, samples: Samples) -> None:
    """Training ends before validation begins, and that before the test."""
    split = sampling.split(log, samples, "by-time", seed=0)
    times = [log.time[part.row] for part in (split.training, split.validation, split.test)]
    assert times[0].max() < times[1].min()
    assert times[1].max() < times[2].min()
    assert sum(map(len, times)) == len(samples)
    assert 0.7 < len(split.training) / len(samples) <= 0.8


def test_each_user_belongs_to_one_part(log: InteractionLog, samples: Samples) -> None:
    """A tenth of the users is tested, and a tenth of the others is for validation."""
    split = sampling.split(log, samples, "by-user", seed=5)
    users = [set(log.user[part.row].tolist()) for part in (split.training, split.validation, split.test)]
    assert [len(part) for part in users] == [32, 4, 4]
    assert len(users[0] | users[1] | users[2]) == 40


def test_the_split_seed_deals_out_other_users(log: InteractionLog, samples: Samples) -> None:
    """And the same seed the same ones."""
    tested = [set(log.user[sampling.split(log, samples, "by-user", seed).test.row]) for seed in (1, 1, 2)]
    assert tested[0] == tested[1] != tested[2]


@pytest.mark.parametrize("protocol", ["by-time", "by-user"])
def test_items_that_training_never_saw_have_the_unknown_index(
    dataset: Dataset, log: InteractionLog, samples: Samples, protocol: SplitProtocol
) -> None:
    """As in serving."""
    few = sampling.split(log, samples, protocol, seed=1).training.take(np.arange(3))
    vocabulary = sampling.vocabulary_of(dataset, log, few, protocol)
    table, known = ItemTable.of(dataset, vocabulary), set(vocabulary.item_ids)
    assert 0 < len(known) < len(dataset.items)
    for item_id, index in zip(dataset.items, table.index, strict=True):
        assert (index == UNKNOWN) == (item_id not in known)


def test_a_part_with_labels_of_one_kind_is_refused(log: InteractionLog, samples: Samples) -> None:
    """No AUC could be told of it."""
    with pytest.raises(EmptySplit, match="training part"):
        sampling.split(log, replace(samples, label=np.ones_like(samples.label)), "by-time", seed=0)


@pytest.mark.parametrize("protocol", ["by-time", "by-user"])
def test_a_log_of_one_interaction_a_user_has_no_samples(
    log: InteractionLog, samples: Samples, protocol: SplitProtocol
) -> None:
    """All of it is what knowledge is made of, and the message says so."""
    with pytest.raises(EmptySplit, match="there are no samples: knowledge takes the first half"):
        sampling.split(log, samples.take(np.arange(0)), protocol, seed=0)


def test_mapped_columns_are_those_that_were_saved(log: InteractionLog, tmp_path: Path) -> None:
    """Read from files, not held in memory."""
    log.save(tmp_path)
    mapped = InteractionLog.map(tmp_path)
    assert isinstance(mapped.item, np.memmap)
    for name, column in vars(log).items():
        np.testing.assert_array_equal(column, getattr(mapped, name))
