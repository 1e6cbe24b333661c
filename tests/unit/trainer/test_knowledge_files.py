"""Knowledge texts as files: three layouts, what is refused, and the way into the feature store and out again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loreline.client import Encoded
from services.trainer.data.datasets import Dataset
from services.trainer.data.knowledge_rows import KnowledgeNotLoaded, KnowledgeRow
from services.trainer.data.offline_store import (
    load_catalogue,
    load_knowledge,
    preference_histories,
    stored_knowledge,
    stored_vectors,
)
from services.trainer.knowledge.files import InvalidKnowledgeFile, KnowledgeText, read_texts, write_texts
from services.trainer.knowledge.imported import OtherEncoder, UnfitText, merged, rows_of, sort_out, texts_of

ENDINGS = [".json", ".jsonl", ".parquet"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
TEXTS = st.lists(
    st.builds(KnowledgeText, st.just(0), TEXT, TEXT, TEXT, TEXT, TEXT),
    max_size=5,
    unique_by=lambda text: text.subject_id,
)


class Hashes:
    """Encodes a text as a random direction that depends on its words alone."""

    def __init__(self, name: str = "hashes") -> None:
        self._name = name

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Vectors of width 16."""
        rows = np.stack([np.random.default_rng(list(text.encode())).normal(size=16) for text in texts])
        return Encoded(rows.astype(np.float32), self._name, 0)


def as_rows(texts: Sequence[KnowledgeText], subject: str = "item", encoder: str = "hashes", **values: Any) -> list[Any]:
    return rows_of(texts, "movies", subject, Hashes(encoder), lambda _: None, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ENDINGS)
@given(texts=TEXTS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, ending: str, texts: list[KnowledgeText]
) -> None:
    """In every layout: ids, texts with line breaks, prompts, models, in order."""
    path = tmp_path_factory.mktemp("texts") / f"texts{ending}"
    write_texts(path, texts)
    assert read_texts(path) == [replace(text, row=number) for number, text in enumerate(texts, start=1)]


def test_published_texts_are_read(tmp_path: Path) -> None:
    """An object of prompts and answers by id; an id that occurs twice is not lost."""
    path = tmp_path / "items.json"
    path.write_text('{"7": {"prompt": "Introduce it.", "ans": "A film."}, "7": {"prompt": "", "ans": "Again."}}')
    assert read_texts(path) == [
        KnowledgeText(1, "7", "A film.", "Introduce it."),
        KnowledgeText(2, "7", "Again."),
    ]


def test_lines_may_name_their_text_either_way(tmp_path: Path) -> None:
    """`text` or `ans`; ids may be numbers; blank lines count, but hold nothing."""
    path = tmp_path / "texts.jsonl"
    path.write_text('{"id": 7, "ans": "A."}\n\n{"id": "8", "text": "B.", "model": "m", "other": 1}\n')
    assert read_texts(path) == [KnowledgeText(1, "7", "A."), KnowledgeText(3, "8", "B.", model="m")]


def test_parquet_needs_no_more_than_id_and_text(tmp_path: Path) -> None:
    """Whole numbers as ids; empty cells are as good as no column."""
    path = tmp_path / "texts.parquet"
    pd.DataFrame({"id": [7, 8], "ans": ["A.", "B."], "model": ["m", None]}).to_parquet(path)
    assert read_texts(path) == [KnowledgeText(1, "7", "A.", model="m"), KnowledgeText(2, "8", "B.")]


BAD = {
    "list": (".json", "[]", "must be one object"),
    "no JSON": (".json", "{", "must be JSON"),
    "text instead of an object": (".json", '{"7": "A."}', "entry 1"),
    "no answer": (".json", '{"6": {"ans": "A."}, "7": {"prompt": "x"}}', r"row 2: must have one of text and ans"),
    "two answers": (".jsonl", '{"id": "7", "ans": "A.", "text": "B."}', "row 1: must have one of"),
    "answer that is no text": (".jsonl", '{"id": "7", "ans": 5}', "row 1: ans: must be text, is int"),
    "prompt that is no text": (".jsonl", '{"id": "7", "ans": "A.", "prompt": []}', "row 1: prompt: must be text"),
    "no id": (".jsonl", '{"id": "6", "ans": "A."}\n{"ans": "A."}', "row 2: id: must be text or a whole number"),
    "id that is a fraction": (".jsonl", '{"id": 7.5, "ans": "A."}', "row 1: id"),
    "broken line": (".jsonl", '{"id": "6", "ans": "A."}\n{"id', "row 2: must be a JSON object"),
    "line with a list": (".jsonl", "[1]", "row 1: must be a JSON object, is list"),
    "no Parquet": (".parquet", "PAR0", "must be Parquet"),
    "another ending": (".csv", "id,text", "must end with .json, .jsonl, .parquet"),
}


@pytest.mark.parametrize(("ending", "content", "words"), BAD.values(), ids=BAD.keys())
def test_a_file_of_another_layout_is_refused_with_its_row(
    tmp_path: Path, ending: str, content: str, words: str
) -> None:
    """The whole file: whoever made it learns where to look."""
    path = tmp_path / f"texts{ending}"
    path.write_text(content)
    with pytest.raises(InvalidKnowledgeFile, match=words) as invalid:
        read_texts(path)
    assert str(path) in str(invalid.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, ending: str) -> None:
    """By its name."""
    with pytest.raises(InvalidKnowledgeFile, match="nowhere"):
        read_texts(tmp_path / f"nowhere{ending}")


def test_latin_text_is_refused(tmp_path: Path) -> None:
    """Not read as something else."""
    path = tmp_path / "texts.jsonl"
    path.write_bytes('{"id": "7", "ans": "Amélie"}'.encode("latin-1"))
    with pytest.raises(InvalidKnowledgeFile, match="must be UTF-8"):
        read_texts(path)


def test_every_row_is_taken_or_refused() -> None:
    """Unknown ids, second texts and unfit texts come back with their row; a taken text is what the check made of it."""

    def check(text: KnowledgeText) -> str:
        if "bad" in text.text:
            raise UnfitText("too short")
        return text.text.strip()

    texts = [
        KnowledgeText(row, subject_id, words)
        for row, (subject_id, words) in enumerate(
            [("a", " fine "), ("x", "fine"), ("b", "bad"), ("a", "two"), ("b", "2")]
        )
    ]
    taken, refused = sort_out(texts, {"a", "b"}, check)
    assert [(text.subject_id, text.text) for text in taken] == [("a", "fine"), ("b", "2")]
    assert [(one.row, one.subject_id) for one in refused] == [(1, "x"), (2, "b"), (3, "a")]
    assert ["unknown id" in refused[0].why, refused[1].why, "row 0" in refused[2].why] == [True, "too short", True]


def test_an_imported_text_says_where_it_came_from() -> None:
    """Provider `import`, the text's model before the given one, and the prompt."""
    texts = [KnowledgeText(1, "a", "A.", prompt="Introduce it.", model="own"), KnowledgeText(2, "b", "B.")]
    first, second = (row.knowledge.provenance for row in as_rows(texts, model="given"))
    assert (first.provider, first.model, second.model) == ("import", "own", "given")
    assert (first.scenario, first.prompt_version) == ("movies", 0)
    assert json.loads(first.parameters_json) == {"prompt": "Introduce it."}
    assert as_rows(texts)[1].knowledge.provenance.model == "unknown"
    assert first.key != second.key


def test_new_texts_replace_old_ones_and_leave_the_rest() -> None:
    """By subject."""
    old = as_rows([KnowledgeText(1, "a", "A."), KnowledgeText(2, "b", "B.")])
    both = merged(old, as_rows([KnowledgeText(1, "b", "B2."), KnowledgeText(2, "c", "C.")]))
    assert {row.subject_id: row.knowledge.text for row in both} == {"a": "A.", "b": "B2.", "c": "C."}


def test_vectors_of_two_encoders_are_never_mixed() -> None:
    """Unless the new ones replace all."""
    old, new = as_rows([KnowledgeText(1, "a", "A.")]), as_rows([KnowledgeText(1, "b", "B.")], encoder="other")
    with pytest.raises(OtherEncoder, match="hashes and other"):
        merged(old, new)
    assert merged(old, as_rows([KnowledgeText(1, "a", "A2.")], encoder="other"))[0].encoder == "other"


def test_stored_texts_survive_export_and_import(dataset: Dataset, tmp_path: Path) -> None:
    """Through the offline store, for items and users; importing one kind leaves the other; vectors are the texts'."""
    directory = tmp_path / "features"
    load_catalogue(dataset, directory)
    with pytest.raises(KnowledgeNotLoaded):
        stored_knowledge(directory, "item")
    given = {
        "item": [KnowledgeText(0, item_id, f"About {item_id}.", "Say it.", "m") for item_id in dataset.items],
        "user": [KnowledgeText(0, h.user_id, f"Of {h.user_id}.") for h, _ in preference_histories(dataset)],
    }
    for subject, texts in given.items():
        rows = as_rows(texts, subject)
        load_knowledge(dataset, *((rows, []) if subject == "item" else ([], rows)), directory)
    for subject, texts in given.items():
        _assert_same(directory, subject, texts, tmp_path)


def _assert_same(directory: Path, subject: str, texts: list[KnowledgeText], folder: Path) -> None:
    rows: list[KnowledgeRow] = stored_knowledge(directory, subject)
    assert [row.knowledge.text for row in rows] == [text.text for text in texts]
    assert np.allclose(
        stored_vectors(directory, f"{subject}_knowledge").vectors, [row.vector for row in as_rows(texts)]
    )
    for ending in ENDINGS:
        path = folder / f"{subject}{ending}"
        write_texts(path, texts_of(rows))
        again = as_rows(read_texts(path), subject)
        assert [(r.subject_id, r.knowledge.text) for r in again] == [(r.subject_id, r.knowledge.text) for r in rows]
        assert [r.knowledge.provenance.key for r in again] == [r.knowledge.provenance.key for r in rows]
