"""How the domains of a dataset are shown. Imported only where one is loaded: pandas takes seconds to load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.cli import output
from services.trainer.datasets import Dataset, MultiDomainDataset
from services.trainer.datasets.domains import overlap, remarks, sizes


def domain_facts(dataset: Dataset) -> dict[str, Any]:
    """Sizes, shared users and remarks of a dataset of several domains, for --json; nothing for any other."""
    if not isinstance(dataset, MultiDomainDataset):
        return {}
    return {"domains": sizes(dataset), "shared_users": overlap(dataset), "remarks": remarks(dataset)}


def print_domains(dataset: Dataset) -> None:
    """A table of the domains, and what a reader must know of them; nothing for a dataset of one domain."""
    if not isinstance(dataset, MultiDomainDataset):
        return
    rows = [
        (s.domain, s.interactions, s.users, s.shared_users, s.items, s.untitled_items, f"{s.positives:.1%}")
        for s in sizes(dataset)
    ]
    columns = ["domain", "interactions", "users", "also elsewhere", "items", "without title", "positive"]
    output.print_table("Domains", columns, rows)
    print_remarks(remarks(dataset))


def print_remarks(told: Sequence[str]) -> None:
    """What a reader of a figure must know of the dataset, a line each."""
    for remark in told:
        output.console.print(f"note: {remark}", style="yellow", soft_wrap=True, markup=False, highlight=False)
