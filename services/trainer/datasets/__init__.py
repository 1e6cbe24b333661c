"""Datasets by name. To add one: a file with a loader that returns a Dataset, and a line here."""

from collections.abc import Callable

from services.trainer.datasets import movielens_100k
from services.trainer.datasets.dataset import Dataset, check_interactions

DATASETS: dict[str, Callable[[], Dataset]] = {
    "movielens-100k": movielens_100k.load,
}

__all__ = ["DATASETS", "Dataset", "check_interactions"]
