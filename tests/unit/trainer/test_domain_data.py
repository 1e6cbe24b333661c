"""Samples of several domains: their split, what is known at each, and the features and prompts made of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.model_registry import PADDING, UNKNOWN
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.domain_data import NOBODY, DomainData, gather
from services.trainer.multi_domain.features import features_of
from services.trainer.multi_domain.language_models import word_tokenizer
from services.trainer.multi_domain.token_table import prompt_format, token_table, written
from services.trainer.training.config import InvalidConfig
from tests.several_domains import read_domains, write_domains

DOMAINS = ("lamps", "songs", "tools")
CPU = torch.device("cpu")


def config_of(**changes: object) -> MultiDomainConfig:
    base = {"task": "multi-domain", "network": "mmoe", "batch_size": 64, "learning_rate": 0.001, "epochs": 1, "seed": 1}
    return MultiDomainConfig.model_validate(base | changes)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MultiDomainDataset:
    """Three domains with shared users."""
    return read_domains(write_domains(tmp_path_factory.mktemp("domains"), DOMAINS))


@pytest.fixture(scope="module")
def data(dataset: MultiDomainDataset) -> DomainData:
    """All three, trained."""
    return gather(dataset, config_of())


def test_each_domain_is_cut_by_its_own_time(data: DomainData) -> None:
    """80, 10 and 10 percent, and nothing is trained on that came after a test."""
    parts = data.split.training, data.split.validation, data.split.test
    for name in DOMAINS:
        own = [data.of(part, [name]) for part in parts]
        assert [len(part) for part in own] == [256, 32, 32]
        times = [data.log.time[part.row] for part in own]
        assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()


def test_a_left_out_domain_is_tested_and_never_trained(dataset: MultiDomainDataset) -> None:
    """Not for the early stop either, and its ids are unknown."""
    data = gather(dataset, config_of(left_out="tools"), ["tools"])
    assert data.trained == ("lamps", "songs")
    assert not len(data.of(data.split.training, ["tools"]))
    assert not len(data.of(data.split.validation, ["tools"]))
    test = data.of(data.split.test, ["tools"])
    assert len(test) == 32
    assert set(features_of(data, 5).item[test.item[:, 0]]) == {UNKNOWN}


def test_a_history_holds_the_newest_liked_items_of_all_domains(data: DomainData) -> None:
    """Positive ones before the sample, oldest first, as a loop over the log finds them."""
    log, rows = data.log, data.split.test.row
    for row, found in zip(rows, data.history(rows, 5), strict=True):
        known = (log.user == log.user[row]) & (log.time < log.time[row]) & (log.label > 0)
        wanted = np.flatnonzero(known)[-5:]
        assert found[found != NOBODY].tolist() == wanted.tolist()
        assert (found[len(wanted) :] == NOBODY).all()


def test_nothing_of_the_samples_own_second_is_known(data: DomainData) -> None:
    """It may be the sample itself, and with it the label."""
    rows = data.split.training.row
    past = data.history(rows, 5)
    there = past != NOBODY
    assert (data.log.time[past] < data.log.time[rows][:, None])[there].all()


def test_only_the_newest_training_samples_are_taken_where_a_bound_is_given(dataset: MultiDomainDataset) -> None:
    """Of each domain; test and validation stay whole."""
    bounded, whole = gather(dataset, config_of(samples_per_domain=50)), gather(dataset, config_of())
    for name in DOMAINS:
        rows = bounded.of(bounded.split.training, [name]).row
        assert rows.tolist() == whole.of(whole.split.training, [name]).row[-50:].tolist()
    assert bounded.split.test.row.tolist() == whole.split.test.row.tolist()


@pytest.mark.parametrize(
    ("field", "value"), [("left_out", "shoes"), ("domains", ["lamps", "shoes"]), ("added", "shoes")]
)
def test_a_domain_that_is_not_there_is_named(dataset: MultiDomainDataset, field: str, value: object) -> None:
    """With those that are."""
    with pytest.raises(
        InvalidConfig, match=f"{field}: must be of the dataset's domains lamps, songs, tools; is 'shoes'"
    ):
        gather(dataset, config_of(**{field: value}))


def test_the_user_is_a_field_of_the_candidate_alone(data: DomainData) -> None:
    """In the history it would be the same everywhere."""
    features, test = features_of(data, 5), data.split.test
    batch = features.batch(test, np.arange(20), CPU)
    users = data.log.user[test.row[:20]]
    names = features.vocabulary.fields["user"]
    assert [names[index - 2] for index in batch.item_fields[:, 0, -1]] == [data.user_ids[code] for code in users]
    assert (batch.history_fields[..., -1] == PADDING).all()


def test_a_vocabulary_that_grows_keeps_the_indices_that_it_had(dataset: MultiDomainDataset, data: DomainData) -> None:
    """What is new stands behind."""
    small = features_of(gather(dataset, config_of(), ["tools"]), 5).vocabulary
    grown = features_of(data, 5, known=small).vocabulary
    assert grown.item_ids[: len(small.item_ids)] == small.item_ids
    assert len(grown.item_ids) > len(small.item_ids)
    assert all(grown.fields[name][: len(values)] == values for name, values in small.fields.items())


def test_prompts_tell_domain_user_history_and_candidate(data: DomainData) -> None:
    """In the words of the domain's name, and with the history of the sample."""
    form = prompt_format(data, config_of())
    row = data.split.test.row[-1]
    [parts] = written(data, form, np.array([row]))
    log = data.log
    liked = [data.items[log.item[entry]].title for entry in data.history(np.array([row]), 5)[0]]
    assert parts.text.startswith(f"Scenario: tools. User {data.user_ids[log.user[row]]} liked")
    assert [entry.strip(' "') for entry in parts.history] == liked
    assert data.items[log.item[row]].title in parts.text


def test_tokens_of_any_rows_are_those_of_their_prompts(data: DomainData) -> None:
    """Whatever rows stand beside them in a batch."""
    form = prompt_format(data, config_of())
    tokenizer = word_tokenizer(parts.text for parts in written(data, form, data.split.training.row))
    table = token_table(data, form, tokenizer)
    rows = data.split.validation.row[[3, 50, 7]]
    ids, mask = table.batch(rows, CPU)
    assert mask.sum(dim=1).tolist() == table.length(rows).tolist()
    for place, row in enumerate(rows):
        alone, _ = table.batch(np.array([row]), CPU)
        assert ids[place][mask[place] > 0].tolist() == alone[0].tolist()
