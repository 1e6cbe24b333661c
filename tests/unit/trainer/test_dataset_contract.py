"""What every dataset keeps, whatever its files look like."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from feature_repo.store import open_store, source_path
from services.cli.output import BadInput
from services.cli.settings import CliSettings
from services.cli.training.datasets import load_dataset
from services.scenarios import load_scenario
from services.trainer.data.datasets import DATASETS, Dataset, DatasetSource, labels
from services.trainer.data.datasets.dataset import COLUMNS, InvalidDataset, check_items, check_users
from services.trainer.data.interaction_log import interaction_log, sample_rows
from services.trainer.data.offline_store import load_catalogue
from tests.unit.cli.command import Command


def movielens_1m(folder: Path) -> DatasetSource:
    (folder / "movies.dat").write_text("7::A Film (1994)::Drama\n8::Second (1950)::War\n")
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::0::70072\n")
    (folder / "ratings.dat").write_text("1::7::5::978300760\n1::8::2::978300000\n2::7::3::978300760\n")
    return DatasetSource((folder,))


def amazon(folder: Path) -> DatasetSource:
    review = {"reviewerID": "A1", "asin": "B000000001", "overall": 5.0, "unixReviewTime": 1_400_000_000}
    reviews = [review, {**review, "asin": "B000000002", "overall": 1.0, "unixReviewTime": 1_300_000_000}]
    (folder / "reviews.json").write_text("\n".join(map(json.dumps, reviews)))
    return DatasetSource((folder,))


def generic(folder: Path) -> DatasetSource:
    (folder / "items.csv").write_text("id,name\n1,One\n2,Two\n")
    (folder / "log.csv").write_text("user,item,stars,at\na,1,5,20\na,2,1,10\n")
    mapping = {
        "name": "small",
        "scenario": "movies",
        "items": {"file": "items.csv", "id": "id", "title": "name"},
        "interactions": {"file": "log.csv", "user": "user", "item": "item", "rating": "stars", "time": "at"},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(mapping))
    return DatasetSource((folder / "small.yaml",))


def multi_domain(folder: Path) -> DatasetSource:
    (folder / "items.csv").write_text(
        "domain,item_id,title,brand,price,category,description\nToys,1,One,,,,\nBooks & Co,2,Two,Maker,2.5,A > B,Text\n"
    )
    rows = ["domain,user_id,item_id,rating,timestamp", "Toys,a,1,5,20", "Books & Co,a,2,1,10", "Toys,b,1,3,30"]
    (folder / "interactions.csv").write_text("\n".join(rows))
    return DatasetSource((folder,))


SOURCES: dict[str, Callable[[Path], DatasetSource]] = {
    "movielens-100k": lambda _: DatasetSource(),
    "movielens-1m": movielens_1m,
    "amazon": amazon,
    "generic": generic,
    "multi-domain": multi_domain,
}


@pytest.mark.parametrize("name", DATASETS)
class TestDatasets:
    """One contract for every dataset; a new one needs a line in SOURCES."""

    @pytest.fixture
    def dataset(self, name: str, tmp_path: Path) -> Dataset:
        """A small one in the original format."""
        return DATASETS[name](SOURCES[name](tmp_path))

    def test_the_log_has_the_schema_and_is_in_order_of_time(self, dataset: Dataset) -> None:
        """Ids as text, ratings as float32, whole seconds."""
        log = dataset.interactions
        assert {column: str(log[column].dtype) for column in COLUMNS} == {
            "user_id": "object", "item_id": "object", "rating": "float32", "time": "int64"
        }  # fmt: skip
        assert log["time"].is_monotonic_increasing
        assert set(log["item_id"]) <= set(dataset.items)
        assert set(log["user_id"]) <= set(dataset.users)

    def test_items_are_of_the_datasets_scenario_and_have_its_fields(self, dataset: Dataset) -> None:
        """A title each, and a value for every model field, empty where it is unknown."""
        scenario = load_scenario(dataset.scenario)
        for item_id, item in dataset.items.items():
            assert (item.item_id, item.scenario) == (item_id, dataset.scenario)
            assert item.title
            assert len(scenario.field_values(item)) == len(scenario.item_fields)

    def test_labels_and_samples_follow_from_the_log(self, dataset: Dataset) -> None:
        """Both kinds of labels come up, and each user's first interactions are no samples."""
        assert set(labels(dataset)) == {0, 1}
        columns, user_ids = interaction_log(dataset)
        assert len(user_ids) == dataset.interactions["user_id"].nunique()
        assert len(sample_rows(columns)) < len(dataset.interactions)

    def test_items_and_users_keep_the_contracts_limits(self, dataset: Dataset) -> None:
        """No service will refuse them later."""
        check_items(dataset.items)
        check_users(dataset.users)

    def test_an_unknown_option_is_refused(self, name: str, tmp_path: Path) -> None:
        """A typing error must not be passed over."""
        source = SOURCES[name](tmp_path)
        with pytest.raises(InvalidDataset, match="--option: must be one of"):
            DATASETS[name](DatasetSource(source.paths, {"scenaro": "movies"}))


@pytest.mark.parametrize("name", ["movielens-1m", "amazon", "generic", "multi-domain"])
def test_a_dataset_that_is_not_fetched_needs_a_path(name: str) -> None:
    """The message says which."""
    with pytest.raises(InvalidDataset, match="--path: must"):
        DATASETS[name](DatasetSource())


def test_a_dataset_that_is_fetched_takes_no_path(tmp_path: Path) -> None:
    """It would be passed over."""
    with pytest.raises(InvalidDataset, match="--path: this dataset is fetched"):
        DATASETS["movielens-100k"](DatasetSource((tmp_path,)))


@pytest.mark.parametrize("name", ["amazon", "generic", "multi-domain"])
def test_a_dataset_without_a_file_of_users_can_be_stored(name: str, tmp_path: Path) -> None:
    """Feast takes a row for every user, also for those of whom nothing is known."""
    folder = tmp_path / "data"
    folder.mkdir()
    dataset = DATASETS[name](SOURCES[name](folder))
    load_catalogue(dataset, tmp_path / "features")
    stored = pd.read_parquet(source_path(tmp_path / "features", "user_profile"))
    assert stored["user_id"].tolist() == sorted(set(dataset.interactions["user_id"]))


@pytest.mark.parametrize(
    "broken", [{"scenario": "nowhere"}, {"items": {"file": "gone.csv", "id": "id", "title": "name"}}], ids=list
)
def test_what_was_stored_stays_when_an_import_is_refused(tmp_path: Path, broken: dict[str, object]) -> None:
    """Nothing is replaced before all has been read."""
    path = generic(tmp_path).paths[0]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **broken}))
    settings = CliSettings(home=tmp_path / "home")
    stored = settings.feature_directory / "offline" / "item_profile.parquet"
    stored.parent.mkdir(parents=True)
    stored.write_text("what was there")
    with pytest.raises(BadInput):
        load_dataset(settings, "generic", DatasetSource((path,)), 0)
    assert stored.read_text() == "what was there"
    assert not settings.dataset_file.exists()


def test_what_was_stored_stays_when_a_load_breaks_off(tmp_path: Path) -> None:
    """Everything is written beside it first, and of what was written nothing is left."""
    dataset = DATASETS["generic"](generic(tmp_path))
    home, features = tmp_path / "home", tmp_path / "home" / "features"
    load_catalogue(dataset, features)
    before = source_path(features, "item_profile").read_bytes()
    broken = replace(dataset, items={"1": replace(dataset.items["1"], title="\ud800"), "2": dataset.items["2"]})
    with pytest.raises(UnicodeEncodeError):
        load_catalogue(broken, features)
    assert source_path(features, "item_profile").read_bytes() == before
    assert [path.name for path in home.iterdir()] == ["features"]
    assert "LORELINE_FEATURE_DIRECTORY" not in os.environ


def test_a_second_load_replaces_the_first_whole(tmp_path: Path) -> None:
    """Online, too."""
    dataset, features = DATASETS["generic"](generic(tmp_path)), tmp_path / "features"
    load_catalogue(dataset, features)
    (features / "ledger.db").write_text("of the first")
    load_catalogue(
        replace(dataset, items={n: replace(i, title=f"New {n}") for n, i in dataset.items.items()}), features
    )
    assert not (features / "ledger.db").exists()
    found = open_store(features).get_online_features(["item_profile:title"], [{"item_id": "1"}, {"item_id": "2"}])
    assert found.to_dict()["title"] == ["New 1", "New 2"]


def test_the_command_tells_what_it_passed_over(tmp_path: Path) -> None:
    """As a note, and among what --json prints."""
    folder = tmp_path / "data"
    folder.mkdir()
    amazon(folder)
    (folder / "README").write_text("Reviews, from 1996 on")
    remark = "README was passed over: it is empty, or neither JSON nor CSV"
    loreline = Command(tmp_path / "home", {})
    load = ("data", "load", "amazon", "--path", str(folder), "--hold-out", "0")
    assert f"note: {remark}" in loreline(*load).stdout
    assert loreline(*load, "--json").document["remarks"] == [remark]
