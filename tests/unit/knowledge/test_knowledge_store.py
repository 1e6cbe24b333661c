"""The store of answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loreline.domain import Knowledge, Provenance
from services.knowledge.store import LOOKUP_KEYS, KnowledgeStore
from services.runtime.errors import DependencyUnavailable
from services.runtime.sqlite_file import SqliteFile

WRITTEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def knowledge(key: str = "k1", text: str = "A text.", created: datetime = WRITTEN) -> Knowledge:
    """An answer with every field set."""
    provenance = Provenance(
        key=key,
        provider="tgi",
        model="m",
        scenario="movies",
        prompt_version=2,
        factors=("genre", "mood"),
        prompt_tokens=3,
        completion_tokens=4,
        finish_reason="length",
        created_time=created,
        parameters_json='{"seed":0}',
        agreement=0.5,
        fallback_reason="looping",
    )
    return Knowledge(text, provenance)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KnowledgeStore]:
    opened = KnowledgeStore(tmp_path / "sub" / "knowledge.db")
    yield opened
    opened.close()


def test_an_answer_comes_back_with_its_whole_provenance(store: KnowledgeStore) -> None:
    """Text and every field, from a file in a folder that did not exist."""
    store.put(knowledge())
    assert store.get_many(["k1", "k2"]) == {"k1": knowledge()}


def test_the_first_answer_of_a_key_stays(store: KnowledgeStore) -> None:
    """Writing again changes nothing."""
    store.put(answer_of_a_model("A text."))
    store.put(answer_of_a_model("Another text."))
    store.put(knowledge(text="What the fallback wrote."))
    assert store.get_many(["k1"])["k1"].text == "A text."


def test_what_a_fallback_wrote_is_replaced(store: KnowledgeStore) -> None:
    """By a later fallback, and by the model itself."""
    store.put(knowledge())
    store.put(knowledge(text="Another of the fallback."))
    assert store.get_many(["k1"])["k1"].text == "Another of the fallback."
    store.put(answer_of_a_model("A text of the model."))
    assert store.get_many(["k1"])["k1"] == answer_of_a_model("A text of the model.")


def answer_of_a_model(text: str) -> Knowledge:
    known = knowledge(text=text)
    return dataclasses.replace(known, provenance=dataclasses.replace(known.provenance, fallback_reason=""))


def test_the_answer_that_was_given_last_is_the_newest(store: KnowledgeStore) -> None:
    """Whenever it was written: content that changes back has its old answer again; a late note changes nothing."""
    given = {"k1": 1, "k2": 5, "k3": 3}
    for key, second in given.items():
        store.put(knowledge(key, created=WRITTEN + timedelta(seconds=100 - second)))
        store.link("item", "1", key, WRITTEN + timedelta(seconds=second))
    assert newest_key(store) == "k2"
    store.link("item", "1", "k1", WRITTEN + timedelta(seconds=6))
    assert newest_key(store) == "k1"
    store.link("item", "1", "k1", WRITTEN)
    assert newest_key(store) == "k1"


def newest_key(store: KnowledgeStore) -> str:
    found = store.newest("item", "1")
    assert found is not None
    return found.provenance.key


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Its links have no moment: the answer that was written last is the newest."""
    database = SqliteFile(tmp_path / "knowledge.db", "the knowledge store")
    database.create(
        "CREATE TABLE subjects (kind TEXT NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (kind, id, key))"
        " WITHOUT ROWID; INSERT INTO subjects VALUES ('item', '1', 'k1'), ('item', '1', 'k2');"
    )
    database.close()
    store = KnowledgeStore(tmp_path / "knowledge.db")
    for key, created in {"k1": WRITTEN + timedelta(microseconds=1), "k2": WRITTEN}.items():
        store.put(knowledge(key, created=created))
    assert newest_key(store) == "k1"
    store.close()


def test_items_and_users_of_one_id_are_apart(store: KnowledgeStore) -> None:
    """An item and a user may share their id."""
    store.put(knowledge())
    store.link("item", "1", "k1", WRITTEN)
    assert store.newest("user", "1") is None
    assert store.newest("item", "1") == knowledge()


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    """What was written is there for the next process."""
    path = tmp_path / "knowledge.db"
    first = KnowledgeStore(path)
    first.put(knowledge())
    first.link("item", "1", "k1", WRITTEN)
    first.close()
    second = KnowledgeStore(path)
    found = second.newest("item", "1")
    second.close()
    assert found == knowledge()


def test_lookups_of_many_keys_are_split(store: KnowledgeStore) -> None:
    """More keys than one statement takes."""
    keys = [f"k{number}" for number in range(2 * LOOKUP_KEYS + 1)]
    for key in (keys[0], keys[LOOKUP_KEYS], keys[-1]):
        store.put(knowledge(key))
    assert set(store.get_many(keys)) == {keys[0], keys[LOOKUP_KEYS], keys[-1]}


def test_threads_share_the_store(store: KnowledgeStore) -> None:
    """Parallel writers lose nothing."""

    def write(number: int) -> None:
        store.put(knowledge(f"k{number}"))
        store.link("item", str(number), f"k{number}", WRITTEN)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(80)))
    assert len(store.get_many([f"k{number}" for number in range(80)])) == 80


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """The error names the store."""
    path = tmp_path / "knowledge.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 50)
    with pytest.raises(DependencyUnavailable, match="knowledge store"):
        KnowledgeStore(path)


def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    """A late reader gets the platform's error."""
    store = KnowledgeStore(tmp_path / "knowledge.db")
    assert store.answers()
    store.close()
    with pytest.raises(DependencyUnavailable):
        store.newest("item", "1")


def test_an_unset_agreement_stays_unset(store: KnowledgeStore) -> None:
    """One sample has no agreement, which is not an agreement of 0."""
    bare = dataclasses.replace(knowledge().provenance, agreement=None, fallback_reason="")
    store.put(Knowledge("A text.", bare))
    assert store.get_many(["k1"])["k1"].provenance == bare
