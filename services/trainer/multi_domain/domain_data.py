"""Samples of several domains, split by time within each, and what is known of users and items at each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from loreline.domain import Item
from services.scenarios import load_scenario
from services.trainer.data.datasets import MultiDomainDataset
from services.trainer.data.datasets.domains import DOMAIN
from services.trainer.data.interaction_log import Indices, InteractionLog, interaction_log
from services.trainer.data.samples import TRAINING_SHARE, VALIDATION_SHARE, EmptySplit, Samples, Split
from services.trainer.multi_domain.config import MultiDomainConfig
from services.trainer.training.config import InvalidConfig

NOBODY = -1  # place of a history that has no entry


@dataclass(frozen=True)
class DomainData:
    """What the networks of a run over several domains are trained and tested on.

    `domains` are all that are used, and a code is a place among them; `trained` are those with training samples. The
    test part holds all domains. `history` looks at what was known one second before a sample, in every domain.
    """

    domains: tuple[str, ...]
    trained: tuple[str, ...]
    log: InteractionLog
    domain: Indices  # (R,) codes
    user_ids: list[str]
    items: list[Item]  # by code
    split: Split
    data_hash: str
    note: str

    def domain_of(self, samples: Samples) -> Indices:
        """(N,) the samples' domains."""
        return self.domain[samples.row]

    def of(self, samples: Samples, domains: Iterable[str]) -> Samples:
        """The samples of some domains."""
        return samples.take(np.isin(self.domain_of(samples), [self.domains.index(name) for name in domains]))

    def history(self, rows: Indices, length: int) -> Indices:
        """(N, length) rows of the newest positive interactions before rows (N,), oldest first; NOBODY at the end."""
        positive, before = self._positives
        end = before[self.log.known_end[rows]]
        count = np.minimum(end - before[self.log.user_start[self.log.user[rows]]], length)
        places = np.arange(length)
        at = (end - count)[:, None] + places
        there = places < count[:, None]
        return np.where(there, positive[np.where(there, at, 0)], NOBODY)

    @cached_property
    def _positives(self) -> tuple[Indices, Indices]:
        """The rows of positive labels, and (R + 1,) how many of them come before each row."""
        liked = self.log.label > 0
        return np.flatnonzero(liked), np.concatenate([[0], np.cumsum(liked)])


def gather(dataset: MultiDomainDataset, config: MultiDomainConfig, left_out: Sequence[str] = ()) -> DomainData:
    """The data of a config; `left_out` domains are tested only. Raises InvalidConfig, EmptySplit."""
    domains = _chosen(dataset, config)
    trained = tuple(name for name in domains if name not in left_out)
    if not trained:
        raise InvalidConfig("left_out: must leave a domain to train")
    log, user_ids = interaction_log(dataset)
    codes, _ = pd.factorize(dataset.interactions["user_id"])
    names = dataset.interactions[DOMAIN].to_numpy()[np.argsort(codes, kind="stable")]  # the order of the log
    domain = pd.Index(domains).get_indexer(pd.Index(names)).astype(np.int64)
    parts = {name: _parts(log, np.flatnonzero(domain == code), name) for code, name in enumerate(domains)}
    return DomainData(
        domains=domains,
        trained=trained,
        log=log,
        domain=domain,
        user_ids=user_ids,
        items=list(dataset.items.values()),
        split=Split(
            _samples(log, [_newest(parts[name][0], config.samples_per_domain) for name in trained]),
            _samples(log, [parts[name][1] for name in trained]),
            _samples(log, [part[2] for part in parts.values()]),
        ),
        data_hash=dataset.content_hash(),
        note=dataset.note,
    )


def field_values(items: Sequence[Item], width: int) -> list[list[str]]:
    """Each item's categorical values by its own scenario, brought to `width` values; empty where there is none."""
    values = [load_scenario(item.scenario).field_values(item)[:width] for item in items]
    return [[*row, *[""] * (width - len(row))] for row in values]


def field_count(items: Sequence[Item]) -> int:
    """The most categorical values that an item of these has."""
    return max(len(load_scenario(name).item_fields) for name in {item.scenario for item in items})


def _chosen(dataset: MultiDomainDataset, config: MultiDomainConfig) -> tuple[str, ...]:
    known = dataset.domains
    named = [("domains", name) for name in config.domains] + [("left_out", name) for name in config.left_out]
    for field, name in [*named, *([("added", config.added)] if config.added else [])]:
        if name not in known:
            raise InvalidConfig(f"{field}: must be of the dataset's domains {', '.join(known)}; is {name!r}")
    if not config.domains:
        return tuple(known)
    return tuple(name for name in known if name in {*config.domains, *config.left_out, config.added})


def _parts(log: InteractionLog, rows: Indices, name: str) -> list[Indices]:
    """Rows of training, validation and test: the first 80%, the next 10% and the last 10% in time, cut at moments."""
    times = log.time[rows]
    ordered = np.sort(times)
    shares = (TRAINING_SHARE, TRAINING_SHARE + VALIDATION_SHARE)
    cuts = np.array([ordered[int(len(rows) * share)] for share in shares])
    part = np.searchsorted(cuts, times, side="right")
    parts = [rows[part == number] for number in range(3)]
    for title, chosen in zip(("training", "validation", "test"), parts, strict=True):
        if len(np.unique(log.label[chosen])) < 2:
            raise EmptySplit(
                f"the {title} part of domain {name} must have positive and negative samples; it has {len(chosen)}"
            )
    return [chosen[np.argsort(log.time[chosen], kind="stable")] for chosen in parts]


def _newest(rows: Indices, count: int) -> Indices:
    return rows[-count:] if count else rows


def _samples(log: InteractionLog, rows: Sequence[npt.NDArray[np.int64]]) -> Samples:
    joined = np.concatenate(rows)
    return Samples(joined, log.item[joined, None], log.label[joined, None])
