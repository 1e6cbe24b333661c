"""What strangers' files hold beside what they should: nothing is lost, or taken for something else, without a word."""

from __future__ import annotations

import codecs
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from loreline.domain import Item
from services.trainer.data.datasets import DATASETS, Dataset, DatasetSource
from services.trainer.data.datasets.dataset import InvalidDataset
from services.trainer.data.datasets.texts import plain

ITEMS = "id,title\na,First\nb,Second\nc,Third\n"
LOG = "user,item,stars,at\nu1,a,5,1000000000\nu1,b,1,1000000001\nu2,a,4,1000000002\n"
MARK = codecs.BOM_UTF8
REVIEWS = [
    {"reviewerID": f"A{user:013d}", "asin": f"B{item:09d}", "overall": 5.0, "unixReviewTime": 1_400_000_000 + user}
    for user, item in ((1, 1), (2, 2), (1, 2))
]


def shop(
    folder: Path,
    *,
    items: str | bytes = ITEMS,
    log: str | bytes | pd.DataFrame = LOG,
    items_file: str = "items.csv",
    log_file: str = "log.csv",
    items_mapping: dict[str, Any] | None = None,
    log_mapping: dict[str, Any] | None = None,
) -> Dataset:
    """The dataset of these files, as a mapping describes them."""
    for name, content in ((items_file, items), (log_file, log)):
        if isinstance(content, pd.DataFrame):
            content.to_parquet(folder / name)
        else:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    mapping = {
        "name": "shop",
        "scenario": "movies",
        "items": {"file": items_file, "id": "id", "title": "title", **(items_mapping or {})},
        "interactions": {
            "file": log_file, "user": "user", "item": "item", "rating": "stars", "time": "at", **(log_mapping or {})
        },
    }  # fmt: skip
    (folder / "shop.yaml").write_text(yaml.safe_dump(mapping))
    return DATASETS["generic"](DatasetSource((folder / "shop.yaml",)))


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def films(folder: Path, movies: bytes = b"7::One (1994)::Drama\n8::Two (1950)::War\n") -> Dataset:
    """MovieLens-1M of two films and two viewers."""
    (folder / "movies.dat").write_bytes(movies)
    (folder / "users.dat").write_text("1::F::1::10::00001\n2::M::56::0::00002\n")
    (folder / "ratings.dat").write_text("1::7::5::978300760\n1::8::2::978300000\n2::7::3::978300760\n")
    return DATASETS["movielens-1m"](DatasetSource((folder,)))


def amazon(folder: Path, metadata: str | bytes = "", reviews: list[dict[str, Any]] | None = None) -> Dataset:
    """Three reviews of two items, and their metadata, in one folder."""
    (folder / "reviews.json").write_text(json_lines(REVIEWS if reviews is None else reviews))
    (folder / "meta.json").write_bytes(metadata.encode() if isinstance(metadata, str) else metadata)
    return DATASETS["amazon"](DatasetSource((folder,)))


class TestQuotes:
    """A double quote may be a letter, or begin a value."""

    LOG = "user\titem\tstars\tat\tnote\n" + "".join(
        f"u{n}\ta\t5\t100000000{n}\t{note}\n" for n, note in enumerate(['"so good', "fine", "fine", '"meh'])
    )

    def test_in_a_tab_separated_file_it_is_a_letter(self, tmp_path: Path) -> None:
        """So that four rows are four, also where two notes that nobody asked for begin with one."""
        assert len(shop(tmp_path, log=self.LOG, log_file="log.tsv").interactions) == 4
        items = 'id\ttitle\na\t"Heroes\nb\tTwo\nc\tThree\nd\t"Four\n'
        dataset = shop(tmp_path, items=items, items_file="items.tsv")
        assert [item.title for item in dataset.items.values()] == ['"Heroes', "Two", "Three", '"Four']

    def test_a_quote_that_swallows_rows_is_an_error_with_its_row(self, tmp_path: Path) -> None:
        """Where the mapping, or the format, says that quotes are quotes."""
        with pytest.raises(InvalidDataset, match=r"log\.tsv: line 5: cannot be read as CSV: .*`quoting: none`"):
            shop(tmp_path, log=self.LOG, log_file="log.tsv", log_mapping={"quoting": "double"})
        with pytest.raises(InvalidDataset, match=r"log\.csv: row 1: note holds a line break.*`quoting: none`"):
            shop(tmp_path, log=self.LOG.replace("\t", ",").replace('"meh', 'meh"'))

    def test_a_quote_that_nothing_ends_is_an_error(self, tmp_path: Path) -> None:
        """It would swallow the rest of the file."""
        with pytest.raises(InvalidDataset, match=r"items\.csv: line 4: cannot be read as CSV.*`quoting: none`"):
            shop(tmp_path, items='id,title\na,"First\nb,Second\nc,Third\n')

    def test_a_title_may_hold_separators_and_line_breaks_in_quotes(self, tmp_path: Path) -> None:
        """As a CSV has them; the title is one line."""
        dataset = shop(tmp_path, items='id,title\na,"First, or\r\nbest"\nb,"The ""Second"""\n')
        assert [item.title for item in dataset.items.values()] == ["First, or best", 'The "Second"']

    def test_a_row_with_too_few_values_is_named(self, tmp_path: Path) -> None:
        """Too many, too."""
        for row, count in (("b", 1), ("b,Second,more", 3)):
            with pytest.raises(InvalidDataset, match=rf"items\.csv: row 2: must have 2 values, has {count}"):
                shop(tmp_path, items=f"id,title\na,First\n{row}\n")


class TestEncodings:
    """How letters are written."""

    def test_a_byte_order_mark_is_no_letter(self, tmp_path: Path) -> None:
        """In none of the formats."""
        lines = json_lines([{"id": "a", "title": "First"}, {"id": "b", "title": "Second"}])
        assert set(shop(tmp_path, items=MARK + lines.encode(), items_file="items.jsonl").items) == {"a", "b"}
        assert set(shop(tmp_path, items=MARK + ITEMS.encode(), log=MARK + LOG.encode()).items) == {"a", "b", "c"}
        assert films(tmp_path, MARK + b"7::One (1994)::Drama\n8::Two (1950)::War\n").items["7"].title == "One (1994)"
        metadata = MARK + json_lines([{"asin": "B000000001", "title": "Chess"}]).encode()
        (folder := tmp_path / "amazon").mkdir()
        assert amazon(folder, metadata).items["B000000001"].title == "Chess"

    def test_movielens_is_read_as_utf_8_where_it_is_that(self, tmp_path: Path) -> None:
        """And as Latin-1, as it is published, where it is not."""
        for encoding in ("utf-8", "latin-1"):
            dataset = films(tmp_path, "7::Café Lumen (1994)::Drama\n8::Two (1950)::War\n".encode(encoding))
            assert dataset.items["7"].title == "Café Lumen (1994)"

    def test_a_mapping_names_the_encoding_and_the_separator(self, tmp_path: Path) -> None:
        """Of a file that has others than usual."""
        log = LOG.replace(",", ";")
        items = ITEMS.replace("First", "Café")
        dataset = shop(
            tmp_path, items=items.encode("latin-1"), log=log,
            items_mapping={"encoding": "latin-1"}, log_mapping={"separator": ";"},
        )  # fmt: skip
        assert (dataset.items["a"].title, len(dataset.interactions)) == ("Café", 3)

    def test_bytes_of_another_encoding_are_an_error_that_names_it(self, tmp_path: Path) -> None:
        """And asks which one it is."""
        with pytest.raises(InvalidDataset, match=r"items\.csv: cannot be read: byte 0xe9 is none of utf-8: which enco"):
            shop(tmp_path, items=ITEMS.replace("First", "Café").encode("latin-1"))

    def test_an_encoding_that_there_is_not_is_named(self, tmp_path: Path) -> None:
        """With its field."""
        with pytest.raises(InvalidDataset, match=r"items\.encoding: .*such as utf-8, latin-1 or cp1252, is 'utf-9'"):
            shop(tmp_path, items_mapping={"encoding": "utf-9"})


class TestTexts:
    """What people wrote."""

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("I <3 You, Love > Hate", "I <3 You, Love > Hate"),
            ("I &lt;3 <b>You</b>, Love &gt; Hate", "I <3 You, Love > Hate"),
            ("<p>One</p><p>Two<br/>three</p>", "One Two three"),
            ("&lt;b&gt;Bold&lt;/b&gt; &amp; brave", "Bold & brave"),
            ("<script>run()</script>Chess <!-- new -->", "Chess"),
            ("a <b", "a <b"),
        ],
    )
    def test_tags_are_taken_out_and_what_only_looks_like_one_stays(self, written: str, read: str) -> None:
        """Entities are letters first."""
        assert plain(written) == read

    def test_letters_that_no_text_can_hold_are_none_in_every_format(self, tmp_path: Path) -> None:
        """NUL, and half of a surrogate pair, which JSON can spell and nothing can store."""
        assert shop(tmp_path, items="id,title\na,Fi\0rst\nb,Second\n").items["a"].title == "Fi rst"
        lines = '{"id": "a", "title": "Fi\\u0000rst"}\n{"id": "b", "title": "Sec\\ud800ond \\ud83d\\ude00"}\n'
        items = shop(tmp_path, items=lines, items_file="items.jsonl").items
        assert [items[name].title for name in ("a", "b")] == ["Fi rst", "Sec\ufffdond \U0001f600"]

    def test_what_is_not_a_number_is_no_title(self, tmp_path: Path) -> None:
        """In JSON, and in 2014's notation."""
        for record in (
            '{"asin": "B000000001", "title": NaN, "brand": "Maker"}',
            "{'asin': 'B000000001', 'title': nan, 'brand': 'Maker'}",
        ):
            assert amazon(tmp_path, record).items["B000000001"].title == "Maker"

    @pytest.mark.parametrize("nothing", ["", "  ", "<b></b>", "&nbsp;"])
    def test_a_second_record_does_not_wipe_what_the_first_one_told(self, tmp_path: Path, nothing: str) -> None:
        """It adds to it."""
        records = [{"asin": "B000000001", "title": "Chess"}, {"asin": "B000000001", "title": nothing, "brand": "Maker"}]
        item = amazon(tmp_path, json_lines(records)).items["B000000001"]
        assert (item.title, item.attributes) == ("Chess", {"brand": "Maker"})

    def test_what_is_too_long_is_cut_counted_and_told(self, tmp_path: Path) -> None:
        """Garbage of a crawl must not refuse a whole dataset."""
        garbage = {
            "asin": "B000000001",
            "title": "Chess",
            "brand": "x" * 9_000,
            "category": [f"c{n}" for n in range(71)],
        }
        dataset = amazon(tmp_path, json_lines([garbage]))
        known = dataset.items["B000000001"].attributes
        assert (len(str(known["brand"])), len(known["categories"])) == (8192, 64)  # type: ignore[arg-type]
        assert dataset.remarks == (
            "brand was too long and is cut, in 1 items", "categories was too long and is cut, in 1 items"
        )  # fmt: skip

    def test_a_film_without_genres_has_none(self, tmp_path: Path) -> None:
        """Not one whose name is empty."""
        dataset = films(tmp_path, b"7::One (1994)::\n8::Two (1950)::War|\n")
        assert [dataset.items[name].attributes["genres"] for name in ("7", "8")] == [None, ["War"]]


class TestTimes:
    """When something happened."""

    @pytest.mark.parametrize(
        "text",
        [
            "2001-09-09 01:46:40+00",
            "2001-09-09 01:46:40 UTC",
            "2001-09-09t01:46:40z",
            "2001-09-09T01:46:40.000Z",
            "2001-09-09 03:46:40+0200",
            "2001-09-09T03:46:40 +02:00",
            " 2001-09-09 01:46:40 ",
            "20010909T014640Z",
        ],
    )
    def test_what_databases_export_is_a_time(self, tmp_path: Path, text: str) -> None:
        """Of UTC, where no zone is told."""
        log = f"user,item,stars,at\nu1,a,5,{text}\n"
        assert shop(tmp_path, log=log, log_mapping={"time_unit": "iso8601"}).interactions["time"].tolist() == [10**9]

    def test_a_plain_date_is_its_midnight(self, tmp_path: Path) -> None:
        """Of UTC."""
        log = "user,item,stars,at\nu1,a,5,2001-09-09\n"
        found = shop(tmp_path, log=log, log_mapping={"time_unit": "iso8601"}).interactions["time"].tolist()
        assert found == [10**9 - 6_400]

    @pytest.mark.parametrize("unit", ["s", "us", "iso8601"])
    @pytest.mark.parametrize("kind", ["datetime64[us]", "datetime64[ns, Europe/Berlin]", "date"])
    def test_moments_of_parquet_are_times_whatever_the_unit(self, tmp_path: Path, unit: str, kind: str) -> None:
        """They bring their own."""
        utc = pd.Series(pd.to_datetime([10**9], unit="s", utc=True))
        moment = {
            "datetime64[us]": utc.dt.tz_localize(None).astype("datetime64[us]"),
            "datetime64[ns, Europe/Berlin]": utc.dt.tz_convert("Europe/Berlin"),
            "date": [date(2001, 9, 9)],
        }[kind]
        log = pd.DataFrame({"user": ["u1"], "item": ["a"], "stars": [5.0], "at": moment})
        found = shop(tmp_path, log=log, log_file="log.parquet", log_mapping={"time_unit": unit}).interactions["time"]
        assert found.tolist() == [10**9 - 6_400 if kind == "date" else 10**9]

    def test_seconds_among_milliseconds_are_named(self, tmp_path: Path) -> None:
        """They would lie in January 1970."""
        log = "user,item,stars,at\nu1,a,5,1000000000000\nu1,b,4,1000000001\n"
        with pytest.raises(InvalidDataset, match=r"log\.csv: row 2: at lies in 1970, other rows do not"):
            shop(tmp_path, log=log, log_mapping={"time_unit": "ms"})

    def test_what_has_not_happened_yet_is_named(self, tmp_path: Path) -> None:
        """It would hide all later events of its user and item; clocks may differ by a day."""
        soon, late = int(time.time()) + 3_600, int(time.time()) + 3 * 86_400
        assert len(shop(tmp_path, log=f"user,item,stars,at\nu1,a,5,{soon}\n").interactions) == 1
        with pytest.raises(InvalidDataset, match=r"log\.csv: row 1: at must lie between 1970 and now"):
            shop(tmp_path, log=f"user,item,stars,at\nu1,a,5,{late}\n")


class TestNumbersAndIds:
    """What is counted, and what is called."""

    def test_a_whole_number_among_texts_stays_whole(self, tmp_path: Path) -> None:
        """In JSON lines, where each value has a type of its own."""
        lines = json_lines([{"id": 1, "title": "First"}, {"id": "a", "title": "A"}, {"id": 2.0, "title": "Second"}])
        log = "user,item,stars,at\nu1,1,5,1000000000\n"
        assert list(shop(tmp_path, items=lines, items_file="items.jsonl", log=log).items) == ["1", "a", "2"]

    def test_ids_match_without_the_blanks_around_them(self, tmp_path: Path) -> None:
        """In both files."""
        dataset = shop(tmp_path, items="id,title\na ,First\n b,Second\n", log=LOG.replace("u1", "u1 "))
        assert set(dataset.items) == {"a", "b"}
        assert set(dataset.users) == {"u1", "u2"}

    @pytest.mark.parametrize("stars", [0.0, 50.0, -1.0])
    def test_stars_that_amazon_does_not_give_are_named(self, tmp_path: Path, stars: float) -> None:
        """It gives 1 to 5."""
        with pytest.raises(InvalidDataset, match=r"reviews\.json: row 2: overall must be from 1 to 5"):
            amazon(tmp_path, reviews=[REVIEWS[0], {**REVIEWS[1], "overall": stars}])

    def test_infinity_is_no_number(self, tmp_path: Path) -> None:
        """Whatever the column."""
        with pytest.raises(InvalidDataset, match=r"log\.csv: row 1: stars must be a number, is 'inf'"):
            shop(tmp_path, log=LOG.replace(",5,", ",inf,"))

    def test_a_line_nested_deeper_than_any_record_is_named(self, tmp_path: Path) -> None:
        """Instead of ending the process."""
        lines = '{"id": "a", "title": "First"}\n' + '{"id": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
        with pytest.raises(InvalidDataset, match=r"items\.jsonl: row 2: must be a JSON object"):
            shop(tmp_path, items=lines, items_file="items.jsonl")
        (folder := tmp_path / "amazon").mkdir()
        with pytest.raises(InvalidDataset, match=r"meta\.json: row 1: must be a JSON object"):
            amazon(folder, '{"asin": ' + "[" * 100_000 + "]" * 100_000 + "}\n")


class TestFolders:
    """What lies in a folder beside the data."""

    def test_what_is_no_data_is_passed_over_and_told(self, tmp_path: Path) -> None:
        """Hidden files without a word."""
        for name, content in {".DS_Store": b"\0\1\xff", "README": b"Ratings, from 1", "empty.json": b""}.items():
            (tmp_path / name).write_bytes(content)
        dataset = amazon(tmp_path, json_lines([{"asin": "B000000001", "title": "Chess"}]))
        assert dataset.items["B000000001"].title == "Chess"
        assert dataset.remarks == tuple(
            f"{name} was passed over: it is empty, or neither JSON nor CSV" for name in ("README", "empty.json")
        )

    def test_a_file_that_was_named_is_not_passed_over(self, tmp_path: Path) -> None:
        """Somebody thinks that it is data."""
        (tmp_path / "README").write_text("Ratings, from 1")
        with pytest.raises(InvalidDataset, match="README: row 1: must be JSON, or user, item, rating and time"):
            DATASETS["amazon"](DatasetSource((tmp_path / "README",)))


def test_an_item_of_every_loader_is_whole(tmp_path: Path) -> None:
    """Texts can be stored, whatever was read."""
    item: Item = shop(tmp_path, items="id,title\na,\x85Fi\u2028rst\x07\nb,Second\n").items["a"]
    assert item.title == "Fi rst"
    assert item.title.encode()
