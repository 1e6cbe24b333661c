"""Several domains as one dataset: one id space of users, items and times, and a domain for each interaction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from loreline.domain import Item
from services.scenarios import scenario_names
from services.trainer.data.datasets.amazon import is_titled
from services.trainer.data.datasets.dataset import Dataset, InvalidDataset

POSITIVE_ABOVE = 3  # stars, of every domain (arXiv 2312.10743, section V-A)
DOMAIN = "domain"  # the column


@dataclass(frozen=True)
class MultiDomainDataset(Dataset):
    """A dataset whose `interactions` have two more columns: `domain`, a name, and `label`, rating > 3.

    `scenario` is that of items whose domain has none of its own. `note` is what every table about it must say, such as
    that its domains are made.
    """

    note: str = ""

    @property
    def domains(self) -> list[str]:
        """The domains' names, sorted."""
        return sorted(self.interactions[DOMAIN].unique())


@dataclass(frozen=True)
class DomainSize:
    """What a domain holds. `shared_users` are those who are in another domain too; `positives` is a share."""

    domain: str
    users: int
    shared_users: int
    items: int
    untitled_items: int
    interactions: int
    positives: float


def merged(
    name: str, scenario: str, parts: Mapping[str, Dataset], note: str = "", largest: int = 0
) -> MultiDomainDataset:
    """One dataset of several by domain, or of the `largest` ones. Raises InvalidDataset with fewer than two.

    An item that is in several domains is described by the first of them.
    """
    by_size = sorted(parts, key=lambda domain: -len(parts[domain].interactions))
    chosen = sorted(by_size[: largest or len(parts)])
    if len(chosen) < 2:
        raise InvalidDataset(f"there must be at least two domains; found {', '.join(chosen) or 'none'}")
    items: dict[str, Item] = {}
    users: dict[str, Mapping[str, str | float | list[str] | None]] = {}
    for domain in chosen:
        items = {**parts[domain].items, **items}
        users |= parts[domain].users
    logs = [_of_domain(parts[domain].interactions, domain) for domain in chosen]
    log = pd.concat(logs, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)
    told = tuple(f"{domain}: {remark}" for domain in chosen for remark in parts[domain].remarks)
    return MultiDomainDataset(name, scenario, items, users, log, told, note)


def sizes(dataset: MultiDomainDataset) -> list[DomainSize]:
    """The size of each domain, by name."""
    log = dataset.interactions
    places = log.groupby("user_id")[DOMAIN].nunique()
    shared = set(places.index[places > 1])
    return [_size(dataset, str(domain), part, shared) for domain, part in log.groupby(DOMAIN)]


def overlap(dataset: MultiDomainDataset) -> dict[str, dict[str, int]]:
    """How many users each two domains share; a domain with itself: its users."""
    table = pd.crosstab(dataset.interactions["user_id"], dataset.interactions[DOMAIN]).clip(upper=1)
    counts = table.T.to_numpy() @ table.to_numpy()
    names = [str(name) for name in table.columns]
    return {one: dict(zip(names, map(int, row), strict=True)) for one, row in zip(names, counts, strict=True)}


def remarks(dataset: MultiDomainDataset) -> list[str]:
    """What a reader of any figure has to know: the dataset's note and remarks, and domains whose items lack titles."""
    found = [*([dataset.note] if dataset.note else []), *dataset.remarks]
    for size in sizes(dataset):
        if size.untitled_items:
            found.append(
                f"{size.domain}: {size.untitled_items} of {size.items} items have no title; they go by what is known "
                "of brand, category and description, or by their id"
            )
    return found


def domain_name(text: str) -> str:
    """A name as scenarios have it: `Gift_Cards` becomes `gift-cards`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("'", "")).strip("-")


def scenario_of(domain: str, otherwise: str) -> str:
    """The scenario of a domain's items: that of its name, where one is configured."""
    return domain if domain in scenario_names() else otherwise


def _of_domain(log: pd.DataFrame, domain: str) -> pd.DataFrame:
    label = (log["rating"] > POSITIVE_ABOVE).to_numpy().astype(np.float32)
    return log[["user_id", "item_id", "rating", "time"]].assign(label=label, domain=domain)


def _size(dataset: MultiDomainDataset, domain: str, log: pd.DataFrame, shared: set[str]) -> DomainSize:
    users, items = log["user_id"].unique(), [dataset.items[item_id] for item_id in log["item_id"].unique()]
    return DomainSize(
        domain=domain,
        users=len(users),
        shared_users=len(shared.intersection(users)),
        items=len(items),
        untitled_items=_untitled(items),
        interactions=len(log),
        positives=float(log["label"].mean()),
    )


def _untitled(items: Sequence[Item]) -> int:
    return sum(not is_titled(item) for item in items)
