"""What is done with a partition of texts: encode, adapt, write; and the folder that takes the partitions.

    OUTPUT/  _job.json  part-00000.parquet  part-00001.parquet  ...  _SUCCESS

A partition's file appears when it is whole, `_SUCCESS` when all of them are there; `_job.json` says what the vectors
are of, so that a run which goes on cannot mix two jobs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from services.embedding.adapter import MAX_VECTORS, Adapter, Subject
from services.embedding.encoder import MAX_TEXTS, Encoder
from services.embedding.text_partitions import Partition, table_of, texts_in


class OtherJob(Exception):
    """The output folder holds vectors of another input, encoder, adaptor or division; the message says of which."""


@dataclass(frozen=True)
class Job:
    """What the vectors depend on: the same job gives the same output. Without a version nothing is adapted."""

    input_hash: str
    partition_rows: int
    encoder: str
    subject: Subject
    model_version: str


@dataclass(frozen=True)
class Done:
    """A partition that was written: how many texts, and how many of them were cut at the encoder's limit."""

    name: str
    texts: int
    truncated: int


@dataclass(frozen=True)
class PartitionWork:
    """Encodes a partition, adapts its vectors when there is an adapter, and writes them."""

    job: Job
    output: Path
    encoder: Encoder
    adapter: Adapter | None

    def __call__(self, partition: Partition) -> Done:
        """Do one partition; doing it again writes the same file. Raises OtherJob when the encoder is another."""
        if self.encoder.id != self.job.encoder:
            raise OtherJob(f"the encoder here is {self.encoder.id}, the job's is {self.job.encoder}")
        table = table_of(partition)
        vectors, truncated = self._encode(texts_in(table))
        table = table.append_column("encoder", pa.array([self.encoder.id] * len(table)).dictionary_encode())
        table = table.append_column("vector", _column(vectors))
        if self.adapter is not None:
            version = pa.array([self.job.model_version] * len(table)).dictionary_encode()
            table = table.append_column("model_version", version)
            table = table.append_column("augmented", _column(self._adapt(self.adapter, vectors)))
        _write(table, self.output / partition.name)
        return Done(partition.name, len(table), truncated)

    def _encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], int]:
        pages = [self.encoder.encode(texts[start : start + MAX_TEXTS]) for start in range(0, len(texts), MAX_TEXTS)]
        return np.concatenate([page.vectors for page in pages]), sum(page.truncated for page in pages)

    def _adapt(self, adapter: Adapter, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        pages = (vectors[start : start + MAX_VECTORS] for start in range(0, len(vectors), MAX_VECTORS))
        found = [
            adapter.adapt(self.job.subject, page, self.job.encoder, self.job.model_version).vectors for page in pages
        ]
        return np.concatenate(found)


def open_output(output: Path, job: Job) -> None:
    """Make the output folder, or take up one that the same job began. Raises OtherJob."""
    path = output / "_job.json"
    if path.exists():
        _refuse_another(json.loads(path.read_text(encoding="utf-8")), job, output)
    elif output.exists() and (output.is_file() or any(output.iterdir())):
        raise OtherJob(f"{output}: is there already, and no backfill began it: give another output")
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(job), indent=1) + "\n", encoding="utf-8")


def unfinished(output: Path, partitions: Sequence[Partition]) -> list[Partition]:
    """The partitions that are still to be done."""
    return [partition for partition in partitions if not (output / partition.name).exists()]


def finish(output: Path) -> None:
    """Mark the output as whole."""
    (output / "_SUCCESS").touch()


def _refuse_another(begun: dict[str, Any], job: Job, output: Path) -> None:
    differing = [f"{name}: {begun.get(name)}, now {value}" for name, value in asdict(job).items()
                 if begun.get(name) != value]  # fmt: skip
    if differing:
        raise OtherJob(f"{output}: was begun with another {'; '.join(differing)}: give another output, or remove it")


def _column(vectors: npt.NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def _write(table: pa.Table, path: Path) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, scratch)
        scratch.rename(path)
    finally:
        scratch.unlink(missing_ok=True)
