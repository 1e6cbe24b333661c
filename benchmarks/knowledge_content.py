"""What do the stored knowledge vectors tell of items and users, beside what a model has without them?

    python -m benchmarks.knowledge_content --home .loreline

For the loaded dataset: how much of the variance between items' shares of positive ratings, and between users', a ridge
regression explains on held-out items and users (R², 5-fold) from

- the scenario's categorical fields (items), or the mean rating of the newest ten, or of all, of a user's first n
  interactions: the first two a backbone has as its fields and its history, the third is what a text about all n could
  tell;
- the knowledge vectors alone;
- both.

What "both" explains beyond the first is all that knowledge can add where an item has no id embedding yet, or a user no
more history than that. Shares are of the samples, which start after the first n interactions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.machine import describe_machine
from services.cli.settings import CliSettings
from services.cli.training.datasets import loaded_dataset
from services.scenarios import load_scenario
from services.trainer.data.datasets import Dataset
from services.trainer.data.interaction_log import told_count
from services.trainer.data.knowledge_rows import StoredVectors
from services.trainer.data.offline_store import stored_vectors

Matrix = npt.NDArray[np.float64]
RECENT = 10
LEAST_SAMPLES = 20  # a share of fewer is mostly noise
PENALTIES = np.logspace(-2, 4, 13)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the knowledge vectors tell beside fields and history.")
    parser.add_argument("--home", type=Path, default=CliSettings().home)
    settings = CliSettings(home=parser.parse_args().home)
    dataset = loaded_dataset(settings)
    known, samples = _first_and_rest(dataset)
    print(describe_machine())
    print(f"dataset {dataset.name}, {len(samples)} samples\n")
    print("| what, and without knowledge | how many | without knowledge | knowledge alone | both |")
    print("| --- | --- | --- | --- | --- |")
    for name, subject, plain in (
        ("items: fields", "item", _item_fields(dataset)),
        (f"users: mean of {RECENT}", "user", _means(known.groupby("user_id", sort=False).tail(RECENT))),
        ("users: mean of all n", "user", _means(known)),
    ):
        share = _shares(samples, f"{subject}_id")
        vectors = stored_vectors(settings.feature_directory, f"{subject}_knowledge")
        print(_row(name, share, plain, _by_subject(vectors)))


def _first_and_rest(dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    log = dataset.interactions.copy()
    log["positive"] = log["rating"] > load_scenario(dataset.scenario).positive_above
    place = log.groupby("user_id", sort=False).cumcount()
    length = log.groupby("user_id", sort=False)["item_id"].transform("size")
    first = place < length.map(told_count)
    return log[first], log[~first]


def _shares(samples: pd.DataFrame, key: str) -> pd.Series:
    grouped = samples.groupby(key)["positive"]
    return grouped.mean()[grouped.size() >= LEAST_SAMPLES]


def _item_fields(dataset: Dataset) -> pd.DataFrame:
    fields = load_scenario(dataset.scenario).field_values
    values = {item.item_id: fields(item) for item in dataset.items.values()}
    encoded = OneHotEncoder(sparse_output=False).fit_transform(list(values.values()))
    return pd.DataFrame(encoded, index=list(values))


def _means(interactions: pd.DataFrame) -> pd.DataFrame:
    return interactions.groupby("user_id")[["rating", "positive"]].mean().astype(float)


def _by_subject(vectors: StoredVectors) -> pd.DataFrame:
    return pd.DataFrame(vectors.vectors, index=vectors.subject_ids)


def _row(name: str, share: pd.Series, plain: pd.DataFrame, knowledge: pd.DataFrame) -> str:
    shared = share.index.intersection(plain.index).intersection(knowledge.index)
    label = share[shared].to_numpy()
    sides = [plain.loc[shared].to_numpy(), knowledge.loc[shared].to_numpy()]
    explained = [_explained(side, label) for side in (*sides, np.hstack(sides))]
    return f"| {name} | {len(shared)} | " + " | ".join(f"{value:.3f}" for value in explained) + " |"


def _explained(features: Matrix, label: Matrix) -> float:
    """R² of 5-fold predictions."""
    scaled = StandardScaler().fit_transform(features)
    predicted = cross_val_predict(RidgeCV(PENALTIES), scaled, label, cv=5)
    return float(1 - np.mean((label - predicted) ** 2) / np.var(label))


if __name__ == "__main__":
    main()
