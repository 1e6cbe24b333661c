"""Reading items from JSON lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from loreline.domain import Item
from services.cli.item_files import read_items, write_items
from services.cli.output import BadInput

GOOD = '{"item_id": "1", "scenario": "movies", "title": "Heat", "attributes": {"year": 1995, "genres": ["Crime"]}}'


def test_items_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Text, numbers, lists and unknown values come back."""
    items = [
        Item("1", "movies", "Heat", {"year": 1995, "genres": ["Crime"], "plot": None}),
        Item("2", "movies", "Amélie"),
    ]

    write_items(tmp_path / "items.jsonl", items)

    assert read_items(tmp_path / "items.jsonl") == items


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "must be a JSON object"),
        (b"[1]", "must be a JSON object, is list"),
        (b'{"item_id": "\xff"}', "must be UTF-8"),
        (b'{"item_id": "2", "scenario": "movies", "title": "A", "colour": "red"}', "unknown field 'colour'"),
        (b'{"item_id": "2", "scenario": "movies"}', "title: must be given"),
        (b'{"item_id": 2, "scenario": "movies", "title": "A"}', "item_id: must be text, is int"),
        (b'{"item_id": "2", "scenario": "cooking", "title": "A"}', "scenario: must be one of: apps, books, movies"),
        (b'{"item_id": "", "scenario": "movies", "title": "A"}', "item.item_id: must have 1 to 128 bytes"),
        (b'{"item_id": "2", "scenario": "movies", "title": "A", "attributes": {"x": NaN}}', "must be a finite number"),
        (
            b'{"item_id": "2", "scenario": "movies", "title": "A", "attributes": {"x": true}}',
            "attributes.x: must be text",
        ),
        (b'{"item_id": "2", "scenario": "movies", "title": "A", "attributes": 3}', "attributes: must be an object"),
    ],
)
def test_a_bad_line_is_named_with_its_field(tmp_path: Path, line: bytes, words: str) -> None:
    """The message says which line and what was expected."""
    path = tmp_path / "items.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + line + b"\n")

    with pytest.raises(BadInput, match=r"line 2: ") as caught:
        read_items(path)

    assert words in str(caught.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """Publishing nothing is a mistake."""
    (tmp_path / "items.jsonl").write_text("\n")

    with pytest.raises(BadInput, match="at least one item"):
        read_items(tmp_path / "items.jsonl")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message holds the path."""
    with pytest.raises(BadInput, match=r"nowhere\.jsonl"):
        read_items(tmp_path / "nowhere.jsonl")
