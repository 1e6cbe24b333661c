"""The command `python -m services.embedding.backfill`, by itself and on Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_versions import of_encoder, register_version

from services.model_registry import ModelRegistry

MODULE = ["-m", "services.embedding.backfill"]
WITHOUT_RAY = ["-c", "import sys; sys.modules['ray'] = None; from services.embedding.backfill import main; main()"]
ROWS, PARTITION = 50, 20


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Fifty texts."""
    path = tmp_path / "texts.parquet"
    said = [f"A film about {'the sea and ' * (n % 9)}storm {n}." for n in range(ROWS)]
    pq.write_table(pa.table({"id": [f"i{n}" for n in range(ROWS)], "text": said}), path)
    return path


def run(texts: Path, output: Path, *arguments: str, start: list[str] = MODULE) -> tuple[int, list[Any], str]:
    """Exit code, logged lines and standard error of the command."""
    command = [sys.executable, *start, "--input", str(texts), "--output", str(output), "--threads", "1"]
    command += ["--partition-rows", str(PARTITION), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LORELINE_BACKFILL")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return done.returncode, lines, done.stderr


def vectors(output: Path) -> tuple[list[str], Any]:
    """Ids and vectors in the order of the partitions."""
    table = pq.read_table(sorted(output.glob("part-*.parquet")))
    return table["id"].to_pylist(), np.stack(table["vector"].to_numpy())


def test_a_run_goes_on_where_it_was_broken_off(texts: Path, tmp_path: Path) -> None:
    """Only missing partitions are done, and the output is marked whole at the end; the same command again does none."""
    output = tmp_path / "vectors.parquet"
    assert run(texts, output, "--engine", "process")[0] == 0
    ids, before = vectors(output)
    (output / "_SUCCESS").unlink()
    (output / "part-00001.parquet").unlink()
    code, lines, _ = run(texts, output, "--engine", "process")
    assert code == 0
    assert [line["name"] for line in lines if line["event"] == "partition done"] == ["part-00001.parquet"]
    assert (output / "_SUCCESS").exists()
    assert vectors(output)[0] == ids == [f"i{n}" for n in range(ROWS)]
    np.testing.assert_allclose(vectors(output)[1], before, atol=1e-5)
    _, lines, _ = run(texts, output, "--engine", "process")
    assert [line["event"] for line in lines] == ["begun", "finished"]


def test_without_ray_the_same_command_works_and_says_so(texts: Path, tmp_path: Path) -> None:
    """Unless Ray was asked for."""
    code, lines, _ = run(texts, tmp_path / "vectors.parquet", start=WITHOUT_RAY)
    assert code == 0
    assert any("Ray is not installed" in line["event"] for line in lines)
    code, _, error = run(texts, tmp_path / "other.parquet", "--engine", "ray", start=WITHOUT_RAY)
    assert code == 2
    assert "loreline[ray]" in error


@pytest.mark.slow
def test_ray_gives_the_same_vectors(texts: Path, tmp_path: Path) -> None:
    """In the same partitions, to 1e-5, with augmented ones too; what is there already is left as it is."""
    registry = ModelRegistry(tmp_path / "models")
    version = register_version(registry, **of_encoder())
    options = ["--adaptor", version, "--model-registry", str(registry.root)]
    alone, shared = tmp_path / "alone.parquet", tmp_path / "shared.parquet"
    assert run(texts, alone, "--engine", "process", *options)[0] == 0
    code, lines, error = run(texts, shared, "--engine", "ray", "--workers", "2", *options)
    assert code == 0, error
    assert sorted(line["name"] for line in lines if line["event"] == "partition done") == [
        f"part-0000{number}.parquet" for number in range(3)
    ]
    for name in sorted(path.name for path in alone.glob("part-*.parquet")):
        one, other = (pq.read_table(folder / name) for folder in (alone, shared))
        assert one.drop_columns(["vector", "augmented"]).equals(other.drop_columns(["vector", "augmented"]))
        for column in ("vector", "augmented"):
            np.testing.assert_allclose(np.stack(one[column].to_numpy()), np.stack(other[column].to_numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--adaptor", "1"], "--model-registry: must be given"),
        (["--adaptor", "1", "--model-registry", "nowhere"], "there is no model version '1' in nowhere"),
        (["--partition-rows", "0"], "PARTITION_ROWS: Input should be greater than or equal to 1"),
        (["--encoder", "none/such/name"], "all-MiniLM-L6-v2"),
        (["--input", "nowhere.parquet"], "nowhere.parquet: must be a Parquet file"),
        (["--outptu", "x"], "--outptu"),
    ],
)
def test_wrong_options_end_with_2(texts: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    """And say what was expected."""
    code, _, error = run(texts, tmp_path / "vectors.parquet", *arguments)
    assert code == 2
    assert words in error


def test_an_adaptor_of_another_encoder_is_refused(texts: Path, tmp_path: Path) -> None:
    """Before anything is encoded."""
    registry = ModelRegistry(tmp_path / "models")
    version = register_version(registry, knowledge=384)
    code, _, error = run(
        texts, tmp_path / "vectors.parquet", "--adaptor", version, "--model-registry", str(registry.root)
    )
    assert code == 2
    assert "was trained on test-encoder" in error
    assert not (tmp_path / "vectors.parquet").exists()
