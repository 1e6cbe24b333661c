"""Ready-made vectors: what is read, what is refused, and where they go in the feature store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.store import open_store, source_path
from loreline.client import unpack_item, unpack_user
from services.features.bulk_catch_up import seed
from services.features.sqlite_ledger import SqliteLedger
from services.trainer.data.datasets import Dataset
from services.trainer.data.offline_store import load_catalogue, load_knowledge, preference_histories, stored_vectors
from services.trainer.knowledge.files import InvalidKnowledgeFile, KnowledgeText
from services.trainer.knowledge.imported import rows_with_vectors
from services.trainer.knowledge.vector_files import holds_vectors, read_vectors

WIDTH, AUGMENTED = 16, 4


def vectors_of(ids: list[str], width: int) -> Any:
    """Different numbers for each id."""
    return np.stack([np.random.default_rng(list(name.encode())).normal(size=width) for name in ids]).astype(np.float32)


def lists(vectors: Any) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def table_of(ids: list[str], **columns: Any) -> pa.Table:
    """As a backfill writes it, with an adaptor; a column given as None is left out."""
    found: dict[str, Any] = {
        "id": ids,
        "text": [f"About {name}." for name in ids],
        "model": ["m"] * len(ids),
        "encoder": ["e"] * len(ids),
        "vector": lists(vectors_of(ids, WIDTH)),
        "model_version": ["3"] * len(ids),
        "augmented": lists(vectors_of(ids, AUGMENTED)),
    }
    return pa.table({name: column for name, column in (found | columns).items() if column is not None})


def folder_of(path: Path, *tables: pa.Table, whole: bool = True) -> Path:
    path.mkdir()
    for number, table in enumerate(tables):
        pq.write_table(table, path / f"part-{number:05}.parquet")
    (path / "_job.json").write_text("{}")
    (path / ".part-00009.parquet.77").write_text("not whole")
    if whole:
        (path / "_SUCCESS").touch()
    return path


def test_a_folder_is_read_in_the_order_of_its_parts(tmp_path: Path) -> None:
    """Rows are counted through, and each has its own vector; files that are not whole are passed over."""
    path = folder_of(tmp_path / "vectors", table_of(["a", "b"]), table_of(["c"]))
    texts, vectors = read_vectors(path)
    assert texts == [KnowledgeText(n, name, f"About {name}.", "", "m") for n, name in enumerate("abc", start=1)]
    for text in texts:
        ready = vectors[text.row]
        assert ready.encoder == "e"
        np.testing.assert_array_equal(ready.vector, vectors_of([text.subject_id], WIDTH)[0])
        np.testing.assert_array_equal(ready.augmented["3"], vectors_of([text.subject_id], AUGMENTED)[0])


def test_vectors_need_no_adaptor(tmp_path: Path) -> None:
    """Then the promotion of a version adapts them."""
    pq.write_table(table_of(["a"], model_version=None, augmented=None), tmp_path / "v.parquet")
    assert read_vectors(tmp_path / "v.parquet")[1][1].augmented == {}


def test_only_files_with_vectors_hold_vectors(tmp_path: Path) -> None:
    """Texts alone are encoded as before."""
    pq.write_table(table_of(["a"]), tmp_path / "vectors.parquet")
    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}), tmp_path / "texts.parquet")
    (tmp_path / "broken.parquet").write_text("x")
    found = {path.name: holds_vectors(path) for path in tmp_path.iterdir()}
    assert found == {"vectors.parquet": True, "texts.parquet": False, "broken.parquet": False}
    assert holds_vectors(tmp_path)
    assert not holds_vectors(tmp_path / "missing.parquet")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"encoder": None}, "lacks encoder"),
        ({"encoder": ["e", ""]}, "row 2: encoder: must be text"),
        ({"vector": [[1.0], [2.0, 3.0]]}, "vector: must be lists of float32, all of one length"),
        ({"vector": lists(np.array([[1, 2], [np.nan, 3]], dtype=np.float32))}, "row 2: vector: must hold finite"),
        ({"augmented": [[0.5], [0.5]]}, "augmented: must be lists of float32"),
        ({"model_version": ["3", None]}, "row 2: model_version: must be text, is None"),
        ({"text": None}, "must have one of text and ans"),
    ],
)
def test_unfit_vectors_are_refused(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    """With file, row and column."""
    pq.write_table(table_of(["a", "b"], **columns), tmp_path / "v.parquet")
    with pytest.raises(InvalidKnowledgeFile, match=words):
        read_vectors(tmp_path / "v.parquet")


def test_a_backfill_that_has_not_finished_is_refused(tmp_path: Path) -> None:
    """Its other items would be taken for items without knowledge."""
    with pytest.raises(InvalidKnowledgeFile, match="run the same backfill again"):
        read_vectors(folder_of(tmp_path / "vectors", table_of(["a"]), whole=False))


def test_vectors_go_into_the_stores_as_they_are(dataset: Dataset, tmp_path: Path) -> None:
    """Vectors offline; augmented ones into the packed features, offline and online; what else is packed stays."""
    directory = tmp_path / "features"
    load_catalogue(dataset, directory)
    ids = {"item": list(dataset.items)[:5], "user": [h.user_id for h, _ in preference_histories(dataset)][:5]}
    before = {kind: pd.read_parquet(source_path(directory, f"{kind}_packed")) for kind in ids}
    for kind, names in ids.items():
        pq.write_table(table_of(names), tmp_path / f"{kind}.parquet")
        rows = rows_with_vectors(*read_vectors(tmp_path / f"{kind}.parquet"), "movies", kind)
        load_knowledge(dataset, *((rows, []) if kind == "item" else ([], rows)), directory)
    for kind, unpack in {"item": unpack_item, "user": unpack_user}.items():
        np.testing.assert_array_equal(
            stored_vectors(directory, f"{kind}_knowledge").vectors, vectors_of(ids[kind], WIDTH)
        )
        offline = pd.read_parquet(source_path(directory, f"{kind}_packed")).set_index(f"{kind}_id")["packed"]
        online = open_store(directory).get_online_features(
            [f"{kind}_packed:packed"], [{f"{kind}_id": name} for name in ids[kind]]
        )
        assert online.to_dict()["packed"] == [offline[name] for name in ids[kind]]
        expected = dict(zip(ids[kind], vectors_of(ids[kind], AUGMENTED), strict=True))
        for name, packed in before[kind].set_index(f"{kind}_id")["packed"].items():
            was, now = unpack(packed), unpack(offline[name])
            assert {version: list(v) for version, v in now.augmented.items()} == (
                {"3": list(expected[name])} if name in expected else {}
            )
            assert {**vars(now), "augmented": {}} == {**vars(was), "augmented": {}}


def test_features_serves_them_from_its_next_start_on(dataset: Dataset, tmp_path: Path) -> None:
    """Also where the catalogue was taken over by a start before: no promotion is needed first."""
    directory, names = tmp_path / "features", list(dataset.items)[:3]
    load_catalogue(dataset, directory)
    ledger = SqliteLedger(tmp_path / "ledger.db")
    seed(ledger, directory)
    pq.write_table(table_of(names), tmp_path / "items.parquet")
    load_knowledge(
        dataset, rows_with_vectors(*read_vectors(tmp_path / "items.parquet"), "movies", "item"), [], directory
    )
    seed(ledger, directory)
    states = ledger.items([*names, list(dataset.items)[3]])
    ledger.close()
    for name, adapted in zip(names, vectors_of(names, AUGMENTED), strict=True):
        np.testing.assert_array_equal(states[name].packed.augmented["3"], adapted)
        assert states[name].knowledge is not None
    assert [len(state.packed.augmented) for state in states.values()] == [1, 1, 1, 0]
