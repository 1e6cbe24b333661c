"""Samples of a run: who was asked about which items at what moment, and how that is split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from services.model_registry import Vocabulary
from services.scenarios import load_scenario
from services.trainer.data.datasets import Dataset
from services.trainer.data.interaction_log import Indices, InteractionLog, sample_rows

TRAINING_SHARE, VALIDATION_SHARE = 0.8, 0.1
OUTSIDE = -1
SplitProtocol = Literal["by-time", "by-user"]


class EmptySplit(Exception):
    """A part of the split has no samples, or labels of one kind only; the message says which."""


@dataclass(frozen=True)
class Samples:
    """N samples of C candidates each: C is 1 for click-through prediction, the list's length for re-ranking.

    `row` says whose sample it is and when: the history is what was known before that row of the log. `item` holds
    item codes.
    """

    row: Indices  # (N,)
    item: Indices  # (N, C)
    label: npt.NDArray[np.float32]  # (N, C)
    span: int = 1  # rows of the log, from `row` on, whose labels a sample holds

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: npt.NDArray[np.bool_] | Indices) -> Samples:
        """Some of the samples."""
        return replace(self, row=self.row[chosen], item=self.item[chosen], label=self.label[chosen])


@dataclass(frozen=True)
class Split:
    """Training, validation and test samples; the early stop looks at the second alone, the report at the third."""

    training: Samples
    validation: Samples
    test: Samples


@dataclass(frozen=True)
class ItemTable:
    """What is known of the I items of a dataset, by their codes."""

    index: Indices  # (I,) vocabulary indices
    fields: Indices  # (I, F) vocabulary indices

    @classmethod
    def of(cls, dataset: Dataset, vocabulary: Vocabulary) -> ItemTable:
        """The items as a vocabulary has them; UNKNOWN where training never saw an id or a value."""
        scenario = load_scenario(dataset.scenario)
        values = [vocabulary.field_indices(scenario.field_values(item)) for item in dataset.items.values()]
        index = np.array([vocabulary.item_index(item_id) for item_id in dataset.items], dtype=np.int64)
        return cls(index, np.stack(values))


def impressions(log: InteractionLog) -> Samples:
    """One sample with one candidate for each interaction after the ones that knowledge is made of."""
    rows = sample_rows(log)
    return Samples(rows, log.item[rows, None], log.label[rows, None])


def split(log: InteractionLog, samples: Samples, protocol: SplitProtocol, seed: int) -> Split:
    """The three parts. Raises EmptySplit.

    `by-time` cuts the samples at two moments, so nothing is trained on what came after a test. `by-user` gives each
    user to one part, as KAR's experiments do, with a validation part that is taken from the training users; the seed
    deals out the users.
    """
    if not len(samples):
        raise EmptySplit("there are no samples: knowledge takes the first half of what each user did, none did more")
    part = _parts_by_time(log, samples) if protocol == "by-time" else _parts_by_user(log, samples, seed)
    names = ("training", "validation", "test")
    parts = {name: samples.take(part == number) for number, name in enumerate(names)}
    for name, chosen in parts.items():
        if len(np.unique(chosen.label)) < 2:
            raise EmptySplit(f"the {name} part must have positive and negative samples; it has {len(chosen)} in all")
    return Split(**parts)


def vocabulary_of(dataset: Dataset, log: InteractionLog, training: Samples, protocol: SplitProtocol) -> Vocabulary:
    """Ids and field values of the items that training may know, in order of their appearance.

    By time these are all interactions before the last training sample, by user those of the training users.
    """
    rows = log.time <= log.time[training.row].max()
    if protocol == "by-user":
        rows = np.isin(log.user, np.unique(log.user[training.row]))
    codes = log.item[rows][np.argsort(log.time[rows], kind="stable")]
    _, first = np.unique(codes, return_index=True)
    item_ids = list(dataset.items)
    seen = [item_ids[code] for code in codes[np.sort(first)]]
    scenario = load_scenario(dataset.scenario)
    values = [scenario.field_values(dataset.items[item_id]) for item_id in seen]
    names = [field.name for field in scenario.item_fields]
    return Vocabulary(seen, {name: sorted({row[f] for row in values if row[f]}) for f, name in enumerate(names)})


def popularity(training: Samples, item_count: int) -> Indices:
    """(I,) how often each item stands in the training part; an item below 10 is a cold one."""
    return np.bincount(training.item.ravel(), minlength=item_count)


def _parts_by_time(log: InteractionLog, samples: Samples) -> Indices:
    first, last = log.time[samples.row], log.time[samples.row + samples.span - 1]
    ordered = np.sort(first)
    cuts = np.array([ordered[int(len(first) * share)] for share in (TRAINING_SHARE, TRAINING_SHARE + VALIDATION_SHARE)])
    part = np.searchsorted(cuts, first, side="right")
    return np.where(part == np.searchsorted(cuts, last, side="right"), part, OUTSIDE)  # a list across a cut is in none


def _parts_by_user(log: InteractionLog, samples: Samples, seed: int) -> Indices:
    users = np.random.default_rng(seed).permutation(log.user_count)
    part = np.zeros(log.user_count, dtype=np.int64)
    test = round(len(users) * (1 - TRAINING_SHARE - VALIDATION_SHARE))
    part[users[:test]] = 2
    part[users[test : test + round((len(users) - test) * VALIDATION_SHARE)]] = 1
    return part[log.user[samples.row]]
