"""Rules of dividing a Parquet of texts into partitions, and of taking up what was begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_versions import register_version, weights

from services.embedding.adapter import Adapter
from services.embedding.encoder import Encoder
from services.embedding.partitions import Job, OtherJob, PartitionWork, open_output, unfinished
from services.embedding.text_partitions import InvalidTexts, divide, input_hash
from services.model_registry import ModelRegistry

WORDS = ["sea", "storm", "friend", "film", "drama", "quiet"]


def texts(count: int, first: int = 0) -> pa.Table:
    """Texts of several lengths, with a column that nobody reads."""
    ids = range(first, first + count)
    said = [" ".join(WORDS[: 1 + number % len(WORDS)]) + f" {number}" for number in ids]
    return pa.table({"id": [f"i{number}" for number in ids], "text": said, "model": ["m"] * count, "x": list(ids)})


def job(encoder: Encoder, version: str = "") -> Job:
    return Job("hash", 7, encoder.id, "item", version)


def test_every_row_is_in_one_partition(encoder: Encoder, tmp_path: Path) -> None:
    """Of several files and of row groups that lie across partitions, in the order of the files."""
    source, output = tmp_path / "texts", tmp_path / "vectors.parquet"
    source.mkdir()
    pq.write_table(texts(20), source / "a.parquet", row_group_size=6)
    pq.write_table(texts(5, first=20), source / "b.parquet")
    partitions = divide(source, 7)
    assert [partition.rows for partition in partitions] == [7, 7, 6, 5]
    open_output(output, job(encoder))
    for partition in partitions:
        PartitionWork(job(encoder), output, encoder, None)(partition)
    found = pq.read_table([output / partition.name for partition in partitions])
    assert found.column_names == ["id", "text", "model", "encoder", "vector"]
    assert found.select(["id", "text"]).to_pydict() == texts(25).select(["id", "text"]).to_pydict()
    vectors = np.stack(found["vector"].to_numpy())
    np.testing.assert_allclose(vectors, encoder.encode(found["text"].to_pylist()).vectors, atol=1e-5)


def test_augmented_vectors_are_those_of_the_version(encoder: Encoder, registry: ModelRegistry, tmp_path: Path) -> None:
    """Of the subject's half, under the version's name."""
    version = register_version(registry, knowledge=encoder.dimension, encoder=encoder.id)
    pq.write_table(texts(3), tmp_path / "texts.parquet")
    work = PartitionWork(job(encoder, version), tmp_path, encoder, Adapter(registry))
    done = work(divide(tmp_path / "texts.parquet", 7)[0])
    found = pq.read_table(tmp_path / done.name)
    assert set(found["model_version"].to_pylist()) == {version}
    vectors, adapted = (np.stack(found[name].to_numpy()) for name in ("vector", "augmented"))
    expected = vectors @ weights(int(version), encoder.dimension)["item_weight"]
    np.testing.assert_allclose(adapted, expected, atol=1e-4)


def test_what_is_done_is_not_done_again(encoder: Encoder, tmp_path: Path) -> None:
    """A partition's file appears when it is whole, under its own name alone."""
    output = tmp_path / "vectors.parquet"
    pq.write_table(texts(20), tmp_path / "texts.parquet")
    partitions = divide(tmp_path / "texts.parquet", 7)
    open_output(output, job(encoder))
    PartitionWork(job(encoder), output, encoder, None)(partitions[1])
    open_output(output, job(encoder))
    assert unfinished(output, partitions) == [partitions[0], partitions[2]]
    assert sorted(path.name for path in output.iterdir()) == ["_job.json", partitions[1].name]


def test_two_jobs_are_never_mixed(encoder: Encoder, tmp_path: Path) -> None:
    """Another version is refused by name, and so is a folder that no backfill began, or another encoder."""
    output = tmp_path / "vectors.parquet"
    open_output(output, job(encoder))
    with pytest.raises(OtherJob, match="model_version: , now 2"):
        open_output(output, job(encoder, "2"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("mine")
    with pytest.raises(OtherJob, match="no backfill began it"):
        open_output(tmp_path / "mine", job(encoder))
    pq.write_table(texts(1), tmp_path / "texts.parquet")
    other = Job("hash", 7, "another", "item", "")
    with pytest.raises(OtherJob, match="the job's is another"):
        PartitionWork(other, output, encoder, None)(divide(tmp_path / "texts.parquet", 7)[0])


def test_other_texts_are_another_job(tmp_path: Path) -> None:
    """The hash is that of the files' bytes."""
    hashes = set()
    for count in (3, 4):
        pq.write_table(texts(count), tmp_path / "texts.parquet")
        hashes.add(input_hash(tmp_path / "texts.parquet"))
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["a"]}, "must have the columns id and text"),
        ({"id": ["a"], "text": ["x"], "ans": ["x"]}, "must have the columns id and text"),
        ({"id": ["a"], "text": [1]}, "text: must be text, is int64"),
        ({"id": [0.5], "text": ["x"]}, "id: must be text or whole numbers, is double"),
        ({"id": ["a", "b", None], "text": ["x", "x", "x"]}, "row 3: id: must be given"),
        ({"id": ["a", "b"], "text": ["x", ""]}, "row 2: text: must have 1 to 16384 characters"),
        ({"id": ["a", "b"], "text": [None, "x"]}, "row 1: text: must have"),
        ({"id": ["a", "b"], "text": ["x, y. z", "x\ny"]}, "row 2: text: must be one line"),
        ({"id": ["a"], "text": ["x "]}, "row 1: text: must be one line"),
        ({"id": ["a"], "text": ["x\u2009y"]}, "row 1: text: must be one line"),
        ({"id": ["a"], "ans": ["x" * 16_385]}, "row 1: ans: must have"),
        ({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}, "holds no texts"),
    ],
)
def test_unfit_texts_are_refused_before_any_work(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    """With the file, the row and the column."""
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InvalidTexts, match=words) as refused:
        divide(path, 10)
    assert str(path) in str(refused.value)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    """A missing file, an empty folder, and another format."""
    (tmp_path / "texts.parquet").write_text("id,text")
    for path, words in [
        (tmp_path / "none.parquet", "must be a Parquet file"),
        (tmp_path / "texts.parquet", "must be Parquet"),
    ]:
        with pytest.raises(InvalidTexts, match=words):
            divide(path, 10)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidTexts, match="a folder of them"):
        divide(tmp_path / "empty", 10)
