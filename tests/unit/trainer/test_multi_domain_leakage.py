"""Nothing that came later, and nothing of a domain that is left out, reaches what a network is trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch

from loreline.domain import Item
from services.trainer.data.datasets import Dataset, MultiDomainDataset, check_interactions
from services.trainer.data.datasets.domains import merged
from services.trainer.data.samples import EmptySplit, Samples
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.multi_domain.domain_data import NOBODY, DomainData, gather
from services.trainer.multi_domain.language_models import word_tokenizer
from services.trainer.multi_domain.learners import scores
from services.trainer.multi_domain.token_table import TokenTable, prompt_format, token_table, written
from services.trainer.multi_domain.training import EVERY, prepare, train_network
from services.trainer.training.config import InvalidConfig

DOMAINS = ("lamps", "songs", "tools")
USERS, ITEMS, STEPS = 12, 8, 240
SENTINEL = "sentinel"
Row = tuple[str, str, float, int]


def config_of(**changes: object) -> MultiDomainConfig:
    base = {"task": "multi-domain", "network": "mmoe", "batch_size": 64, "learning_rate": 0.01, "epochs": 2, "seed": 3}
    sizes = {"embedding_width": 4, "network_options": {"expert": [8], "tower": [4]}}
    return MultiDomainConfig.model_validate(base | sizes | changes)


def part_of(domain: str, rows: Sequence[Row]) -> Dataset:
    ids = dict.fromkeys(item_id for _, item_id, _, _ in rows)
    items = {item_id: Item(item_id, "retail", f"Title of {item_id}", {"brand": domain}) for item_id in ids}
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "time"])
    users = {user_id: {} for user_id in log["user_id"].unique()}
    return Dataset(domain, "retail", items, users, check_interactions(log, items))


def rows_of(domain: str, seed: int = 0, every: int = 1) -> list[Row]:
    """Interactions of shared users; `every` so many of them are of one second."""
    random = np.random.default_rng([seed, *domain.encode()])
    drawn = random.integers(0, [USERS, ITEMS, 5], (STEPS, 3)).tolist()
    return [(f"u{user}", f"{domain}{item}", 1.0 + stars, n // every) for n, (user, item, stars) in enumerate(drawn)]


def dataset_of(every: int = 1, **changed: list[Row]) -> MultiDomainDataset:
    parts = {name: part_of(name, changed.get(name) or rows_of(name, every=every)) for name in DOMAINS}
    return merged("three", "retail", parts)


def parts_of(data: DomainData, name: str) -> list[Samples]:
    split = data.split
    return [data.of(part, [name]) for part in (split.training, split.validation, split.test)]


@pytest.mark.parametrize("every", [2, 7, 23])
def test_interactions_of_one_second_are_in_one_part(every: int) -> None:
    """The parts are cut between moments, as near to 80 and 90 percent as these allow."""
    data = gather(dataset_of(every), config_of())
    for name in DOMAINS:
        parts = parts_of(data, name)
        times = [data.log.time[part.row] for part in parts]
        assert sum(map(len, parts)) == STEPS
        assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()
        assert abs(len(parts[0]) - 0.8 * STEPS) < every
        assert abs(len(parts[2]) - 0.1 * STEPS) <= every


def test_the_domains_are_cut_each_by_its_own_time() -> None:
    """One that began when the others had ended is trained all the same."""
    late = [(user, item, rating, time + 10_000) for user, item, rating, time in rows_of("tools")]
    data = gather(dataset_of(tools=late), config_of())
    assert [len(part) for part in parts_of(data, "tools")] == [192, 24, 24]
    assert [len(part) for part in parts_of(data, "lamps")] == [192, 24, 24]


def test_no_part_without_both_labels_is_used() -> None:
    """The message names the domain, the part and its size."""
    bad = [(user, item, 1.0 if time >= 216 else rating, time) for user, item, rating, time in rows_of("songs")]
    with pytest.raises(EmptySplit, match=r"the test part of domain songs must have positive and negative .* has 24"):
        gather(dataset_of(songs=bad), config_of())


def with_sentinels(at: int) -> MultiDomainDataset:
    """Every user likes an item of its own in every domain at a moment, on top of what is there."""
    liked = {name: [(f"u{user}", f"{SENTINEL}-{name}", 5.0, at) for user in range(USERS)] for name in DOMAINS}
    return dataset_of(**{name: [*rows_of(name), *liked[name]] for name in DOMAINS})


@pytest.mark.parametrize("mode", ["full", "id-and-name", "id-only"])
def test_no_prompt_tells_of_its_own_second_or_later(mode: str) -> None:
    """Of an item that all like at one moment, in any domain, only later prompts tell; there it is the newest."""
    data = gather(with_sentinels(at=120), config_of(history_length=5))
    form = prompt_format(data, config_of(prompt_mode=mode))
    rows = np.concatenate([part.row for name in DOMAINS for part in parts_of(data, name)])
    told = [any(SENTINEL in entry for entry in parts.history) for parts in written(data, form, rows)]
    later = data.log.time[rows] > 120
    assert not any(np.array(told)[~later])
    for user in range(USERS):
        assert told[rows.tolist().index(first_after(data, user, 120))]


def test_later_interactions_change_no_token_of_earlier_prompts() -> None:
    """The table of a log that goes on has the same tokens for what was there before."""
    cut, whole = gather(dataset_of(), config_of()), gather(with_sentinels(at=STEPS - 1), config_of())
    form, rows = prompt_format(cut, config_of()), cut.split.training.row
    tokenizer = word_tokenizer(parts.text for parts in written(cut, form, rows))
    before, after = (tokens_of(data, token_table(data, form, tokenizer)) for data in (cut, whole))
    assert len(before) > 500
    assert all(after[key] == tokens for key, tokens in before.items())


def test_what_a_user_disliked_is_no_history() -> None:
    """Only positive ones, the newest before the sample, oldest first; fewer where there are no more."""
    rows = [("u", f"lamps{n}", stars, n) for n, stars in enumerate([5.0, 1.0, 4.0, 3.0, 5.0, 2.0])]
    data = gather(dataset_of(lamps=[*rows_of("lamps"), *rows]), config_of())
    own = np.flatnonzero(data.log.user == data.user_ids.index("u"))
    past = data.history(own, 2)
    found = [data.log.time[entries[entries != NOBODY]].tolist() for entries in past]
    assert found == [[], [0], [0], [0, 2], [0, 2], [2, 4]]
    assert data.history(own, 0).shape == (6, 0)


def test_a_left_out_domains_labels_are_never_learnt() -> None:
    """Turned round they change no weight, though they would if the domain were trained.

    Without history, which tells what a user liked elsewhere.
    """
    turned = [(user, item, 6.0 - rating, time) for user, item, rating, time in rows_of("tools")]
    data = dataset_of(), dataset_of(tools=turned)
    assert not same_weights(config_of(history_length=0), *data)
    assert same_weights(config_of(history_length=0, left_out="tools"), *data)


def test_the_test_part_is_never_learnt_from() -> None:
    """Nor does it decide when training stops."""
    turned = dataset_of(**{name: turned_from(216, rows_of(name)) for name in DOMAINS})
    earlier = dataset_of(**{name: turned_from(180, rows_of(name)) for name in DOMAINS})
    assert same_weights(config_of(epochs=3), dataset_of(), turned)
    assert not same_weights(config_of(epochs=3), dataset_of(), earlier)


@pytest.mark.parametrize("network", ["mmoe", "unictr"])
def test_a_seed_gives_one_network_and_another_seed_another(network: str) -> None:
    """Bit for bit, with shuffling and dropout."""
    sizes = {"mmoe": {"expert": [8], "tower": [4]}, "unictr": {"tower": [8], "gate_width": 4}}
    words = {"language_model": "none", "prompt_mode": "id-only"}
    config = config_of(network=network, network_options=sizes[network], epochs=1, **words)
    dataset = dataset_of()
    data = prepare(dataset, config)
    found = []
    for seed in (3, 3, 4):
        fitted = train_network(dataset, data, config.model_copy(update={"seed": seed}))
        found.append(scores(fitted.learners[EVERY], data.split.test))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_all_domains_left_out_leave_nothing_to_train() -> None:
    """The message names the field."""
    with pytest.raises(InvalidConfig, match="left_out: must leave a domain to train"):
        prepare(dataset_of(), config_of(left_out=DOMAINS))


def same_weights(config: MultiDomainConfig, *datasets: MultiDomainDataset) -> bool:
    """Whether two datasets train one network, bit for bit."""
    fitted = [train_network(data, prepare(data, config), config) for data in datasets]
    one, other = (each.learners[EVERY].network.state_dict() for each in fitted)
    return all(torch.equal(one[name], other[name]) for name in one)


def turned_from(start: int, rows: list[Row]) -> list[Row]:
    return [(user, item, 6.0 - stars if time >= start else stars, time) for user, item, stars, time in rows]


def tokens_of(data: DomainData, table: TokenTable) -> dict[tuple[str, str, int], list[int]]:
    """Training prompts' tokens by user, item and time."""
    log, found = data.log, {}
    for row in data.split.training.row:
        item_id = data.items[log.item[row]].item_id
        key = data.user_ids[log.user[row]], item_id, int(log.time[row])
        found[key] = table.batch(np.array([row]), torch.device("cpu"))[0][0].tolist()
    return found


def first_after(data: DomainData, user: int, time: int) -> int:
    log = data.log
    own = log.user == data.user_ids.index(f"u{user}")
    return int(np.flatnonzero(own & (log.time > time))[0])
