"""`loreline knowledge import` and `export` on a small dataset of one's own, with an encoder of words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.embedding.servicer import SERVICE_NAME, service
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server

WORDS = "a {} story about two strangers who meet on a train and talk until the morning comes"
ITEMS, USERS = [f"i{n}" for n in range(6)], [f"u{n}" for n in range(3)]


class WordEncoder:
    """Vectors of width 4 that depend on a text's words alone."""

    id, dimension = "words", 4

    def encode(self, texts: Sequence[str], timeout_seconds: float | None = None) -> SimpleNamespace:
        """Unit vectors."""
        rows = np.stack([np.random.default_rng(list(text.encode())).normal(size=4) for text in texts])
        return SimpleNamespace(vectors=rows.astype(np.float32), truncated=0)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of an embedding service over that encoder."""
    health = HealthMonitor({}, [SERVICE_NAME])
    made = service(WordEncoder(), None)  # type: ignore[arg-type]
    server = start_server(ServerOptions("127.0.0.1:0", workers=2), [made], health)
    chosen = server.address
    yield chosen
    health.stop()
    server.stop(0).wait()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, address: str) -> Path:
    """The command's folder with a loaded dataset of six items and three users."""
    folder = tmp_path_factory.mktemp("shop")
    pd.DataFrame({"id": ITEMS, "title": [f"Film {n}" for n in range(6)]}).to_csv(folder / "items.csv", index=False)
    log = [(user, item, 4, 1000 + n) for user in USERS for n, item in enumerate(ITEMS)]
    pd.DataFrame(log, columns=["user", "item", "rating", "time"]).to_csv(folder / "log.csv", index=False)
    mapping = {
        "name": "shop",
        "scenario": "movies",
        "items": {"file": "items.csv", "id": "id", "title": "title"},
        "interactions": {
            "file": "log.csv", "user": "user", "item": "item", "rating": "rating", "time": "time", "time_unit": "s"
        },
    }  # fmt: skip
    (folder / "shop.yaml").write_text(yaml.safe_dump(mapping))
    loaded = run(
        folder / "home", address, "data", "load", "generic", "--path", str(folder / "shop.yaml"), "--hold-out", "0"
    )
    assert loaded.returncode == 0, loaded.stderr
    return folder / "home"


def run(home: Path, address: str, *arguments: str) -> SimpleNamespace:
    """The command in this process: PyTorch and Feast, which it loads, take seconds."""
    environment = {"LORELINE_CLI_HOME": str(home), "COLUMNS": "200"}
    environment |= {"LORELINE_CLI_EMBEDDING_ADDRESS": address, "LORELINE_CLI_PREFERRED_PORTS": "false"}
    done = CliRunner().invoke(app, list(arguments), env=environment)
    return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)


def published(path: Path, answers: dict[str, str]) -> str:
    """A file in the layout of published texts."""
    path.write_text(json.dumps({name: {"prompt": "Say it.", "ans": answer} for name, answer in answers.items()}))
    return str(path)


def test_texts_from_elsewhere_go_in_and_come_out_again(home: Path, address: str, tmp_path: Path) -> None:
    """Good rows are loaded, each other one is listed with its row; an export and an import change nothing."""
    answers = {item: WORDS.format(item) for item in ITEMS} | {"nobody": WORDS, "i5": "too short"}
    given = published(tmp_path / "items.json", answers)
    imported = json.loads(run(home, address, "knowledge", "import", given, "--subject", "item", "--json").stdout)
    exports = [str(tmp_path / name) for name in ("first.jsonl", "second.parquet")]
    first = run(home, address, "knowledge", "export", exports[0], "--subject", "item")
    again = run(home, address, "knowledge", "import", exports[0], "--subject", "item")
    second = run(home, address, "knowledge", "export", exports[1], "--subject", "item")

    assert (imported["loaded"], imported["stored"]) == (5, 5)
    assert [(refused["row"], refused["subject_id"]) for refused in imported["refused"]] == [(6, "i5"), (7, "nobody")]
    assert [first.returncode, again.returncode, second.returncode] == [0, 0, 0], again.stderr
    lines = [json.loads(line) for line in Path(exports[0]).read_text().splitlines()]
    assert {line["id"]: line["text"] for line in lines} == {item: WORDS.format(item) for item in ITEMS[:5]}
    assert {line["prompt"] for line in lines} == {"Say it."}
    assert pd.read_parquet(exports[1]).to_dict("records") == lines


def test_texts_of_users_are_loaded_under_the_model_given(home: Path, address: str, tmp_path: Path) -> None:
    """Refused rows are shown with what was wrong."""
    given = published(tmp_path / "users.json", {"u0": WORDS.format("slow"), "u9": WORDS.format("long")})
    done = run(home, address, "knowledge", "import", given, "--subject", "user", "--model", "gpt-x")
    run(home, address, "knowledge", "export", str(tmp_path / "out.jsonl"), "--subject", "user")

    assert done.returncode == 0, done.stderr
    assert "unknown id" in done.stdout
    assert json.loads((tmp_path / "out.jsonl").read_text())["model"] == "gpt-x"


def test_a_backfills_folder_is_loaded_without_an_encoder(home: Path, tmp_path: Path) -> None:
    """Nobody is asked for a vector; a text that would be stored as another than was encoded is refused."""
    folder, said = tmp_path / "vectors.parquet", [WORDS.format("slow"), WORDS.format("long") + " \n"]
    folder.mkdir()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(8, dtype=np.float32)), 4)
    table = pa.table({"id": ["u0", "u1"], "text": said, "encoder": ["words-2"] * 2, "vector": vectors})
    pq.write_table(table, folder / "part-00000.parquet")
    unfinished = run(home, "", "knowledge", "import", str(folder), "--subject", "user")
    (folder / "_SUCCESS").touch()
    done = run(home, "", "knowledge", "import", str(folder), "--subject", "user", "--json")
    run(home, "", "knowledge", "export", str(tmp_path / "out.jsonl"), "--subject", "user")

    assert unfinished.returncode == 2
    assert "run the same backfill again" in unfinished.stderr
    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stdout)
    assert (imported["loaded"], [refused["subject_id"] for refused in imported["refused"]]) == (1, ["u1"])
    assert "one line" in imported["refused"][0]["why"]
    assert [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["u0"]
    assert not (home / "run" / "embedding.json").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"nobody": {"ans": "x"}}', "none of its 1 texts can be loaded; row 1, 'nobody': unknown id"),
        ("{}", "none of its 0 texts"),
        ('{"i1": {"prompt": "x"}}', "row 1: must have one of text and ans"),
        ("[]", "must be one object"),
    ],
)
def test_a_file_without_a_usable_text_ends_with_2(
    home: Path, address: str, tmp_path: Path, content: str, words: str
) -> None:
    """And says what was wrong first."""
    (tmp_path / "bad.json").write_text(content)
    done = run(home, address, "knowledge", "import", str(tmp_path / "bad.json"), "--subject", "item")

    assert done.returncode == 2
    assert words in done.stderr


def test_an_export_overwrites_nothing(home: Path, address: str, tmp_path: Path) -> None:
    """Not without --force; nor into a layout that there is not."""
    (tmp_path / "mine.json").write_text("my work")
    kept = run(home, address, "knowledge", "export", str(tmp_path / "mine.json"), "--subject", "item")
    other = run(home, address, "knowledge", "export", str(tmp_path / "mine.csv"), "--subject", "item")

    assert (kept.returncode, (tmp_path / "mine.json").read_text()) == (2, "my work")
    assert "--force" in kept.stderr
    assert other.returncode == 2
    assert ".parquet" in other.stderr


def test_without_a_dataset_nothing_can_be_imported(address: str, tmp_path: Path) -> None:
    """Ends with 1 and the next command; so does an export of nothing."""
    given = published(tmp_path / "items.json", {"i1": WORDS})
    done = run(tmp_path / "home", address, "knowledge", "import", given, "--subject", "item")
    out = run(tmp_path / "home", address, "knowledge", "export", str(tmp_path / "o.json"), "--subject", "item")

    assert (done.returncode, out.returncode) == (1, 1)
    assert "loreline data load" in done.stderr
    assert "loreline knowledge build" in out.stderr
