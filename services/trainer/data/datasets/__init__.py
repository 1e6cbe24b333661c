"""Datasets by name. To add one: a file with a loader that returns a Dataset, and a line here."""

from collections.abc import Callable

from services.trainer.data.datasets import amazon, generic, movielens_1m, movielens_100k, multi_domain
from services.trainer.data.datasets.dataset import Dataset, DatasetSource, InvalidDataset, check_interactions, labels
from services.trainer.data.datasets.domains import MultiDomainDataset

DATASETS: dict[str, Callable[[DatasetSource], Dataset]] = {
    "movielens-100k": movielens_100k.load,
    "movielens-1m": movielens_1m.load,
    "amazon": amazon.load,
    "generic": generic.load,
    "multi-domain": multi_domain.load,
}

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetSource",
    "InvalidDataset",
    "MultiDomainDataset",
    "check_interactions",
    "labels",
]
