"""Datasets as the commands load them, and how their domains are shown. Wrong names are told before Feast is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loreline.domain import Item, did_you_mean
from services.cli import output
from services.cli.item_files import write_items
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, NotReady
from services.cli.settings import CliSettings
from services.trainer.data.datasets import (
    DATASETS,
    Dataset,
    DatasetSource,
    InvalidDataset,
    MultiDomainDataset,
    multi_domain,
)
from services.trainer.data.datasets.dataset import newest_items
from services.trainer.data.datasets.domains import overlap, remarks, sizes
from services.wheel_assets import AssetUnavailable

HELD_OUT = 40


def dataset_source(paths: Sequence[Path], options: Sequence[str]) -> DatasetSource:
    """Paths, and options as NAME=VALUE. Raises BadInput."""
    pairs = [option.partition("=") for option in options]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise BadInput(f"--option: must be NAME=VALUE, is {name + equals + value!r}")
    return DatasetSource(tuple(paths), {name: value for name, _, value in pairs})


def load_dataset(
    settings: CliSettings, name: str, source: DatasetSource, hold_out: int | None = None
) -> tuple[Dataset, list[Item]]:
    """Load a dataset but for its newest items; returns it and them. Raises BadInput, NotReady.

    Without a number HELD_OUT of them are kept out; of several domains none, whose figures are those of all items.
    """
    if name not in DATASETS:
        raise BadInput(
            f"there is no dataset {name!r}{did_you_mean(name, DATASETS)}: must be one of {', '.join(DATASETS)}"
        )
    if hold_out is None:
        hold_out = 0 if name == multi_domain.NAME else HELD_OUT
    refuse_while_features_runs(settings)
    from services.trainer.data import offline_store  # with Feast, which takes seconds to load

    found = DatasetSource(tuple(path.absolute() for path in source.paths), source.options)
    dataset, held_out = _dataset(name, found, hold_out)
    offline_store.load_catalogue(dataset, settings.feature_directory)
    write_items(settings.new_items_file, held_out)
    settings.dataset_file.write_text(
        json.dumps(
            {
                "name": name,
                "paths": [str(path) for path in found.paths],
                "options": dict(found.options),
                "hold_out": hold_out,
            }
        )
    )
    return dataset, held_out


def loaded_dataset(settings: CliSettings) -> Dataset:
    """The dataset as it was loaded. Raises NotReady when none was."""
    try:
        record = json.loads(settings.dataset_file.read_text())
    except FileNotFoundError as error:
        raise NotReady("no dataset is loaded: run `loreline data load` first") from error
    source = DatasetSource(tuple(map(Path, record.get("paths", []))), record.get("options", {}))
    return _dataset(record["name"], source, record["hold_out"])[0]


def domain_dataset(settings: CliSettings) -> MultiDomainDataset:
    """The dataset that was loaded. Raises NotReady when it has one domain, or none was."""
    dataset = loaded_dataset(settings)
    if not isinstance(dataset, MultiDomainDataset):
        raise NotReady(
            f"the loaded dataset, {dataset.name}, has one domain: run `loreline data load multi-domain` first"
        )
    return dataset


def refuse_while_features_runs(settings: CliSettings) -> None:
    """Raises NotReady when features has the stores open."""
    if LocalProcesses(settings).status("features").live:
        raise NotReady("features is running on the stores that would be replaced: run `loreline down` first")


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Remarks on a dataset, and the sizes and shared users of one of several domains, for --json."""
    if not isinstance(dataset, MultiDomainDataset):
        return {"remarks": dataset.remarks}
    return {"domains": sizes(dataset), "shared_users": overlap(dataset), "remarks": remarks(dataset)}


def print_facts(dataset: Dataset) -> None:
    """What a reader must know of a dataset, and a table of the domains of one of several."""
    if not isinstance(dataset, MultiDomainDataset):
        print_remarks(dataset.remarks)
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
        output.console.print(f"note: {remark}", style="yellow", soft_wrap=True, highlight=False)


def _dataset(name: str, source: DatasetSource, hold_out: int) -> tuple[Dataset, list[Item]]:
    try:
        dataset = DATASETS[name](source)
    except AssetUnavailable as error:
        raise NotReady(f"the dataset cannot be fetched: {error}") from error
    except InvalidDataset as error:
        raise BadInput(str(error)) from error
    try:
        held_out = newest_items(dataset, hold_out)
    except ValueError as error:
        raise BadInput(f"--hold-out: {error}") from error
    return dataset.without_items({item.item_id for item in held_out}), held_out
