"""Text out of the files of strangers: opened, decoded, and made one clean line."""

from __future__ import annotations

import gzip
import html
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, TextIO, cast

from loreline.domain import AttributeValue
from loreline.domain.items import MAX_LIST_VALUE_CHARACTERS, MAX_LIST_VALUES, MAX_TEXT_CHARACTERS
from services.trainer.data.datasets.dataset import InvalidDataset

UTF_8 = "utf-8-sig"  # with or without a byte order mark
MAX_TITLE_CHARACTERS = 150
WITHIN_WORDS = {"a", "b", "big", "em", "font", "i", "small", "span", "strong", "sub", "sup", "u"}  # tags that part none
UNREAD = {"script", "style"}


@contextmanager
def opened(path: Path, encoding: str = UTF_8) -> Iterator[TextIO]:
    """The text of a file that may be compressed (.gz, or .zip with one member), line ends as they are.

    Raises InvalidDataset, also while it is read.
    """
    try:
        with _uncompressed(path) as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} is none of {_name_of(encoding)}"
        raise InvalidDataset(f"{path}: cannot be read: {found}: which encoding is it in?") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidDataset(f"{path}: cannot be read: {error}") from error


def lines_of(path: Path, encoding: str = UTF_8) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, without blanks around them, with their numbers. Raises InvalidDataset."""
    with opened(path, encoding) as text:
        for number, line in enumerate(text, start=1):
            if stripped := line.strip():
                yield number, stripped


def is_utf_8(path: Path) -> bool:
    """Whether all of a file is valid UTF-8. Raises InvalidDataset when it cannot be read."""
    try:
        with _uncompressed(path) as raw, io.TextIOWrapper(raw, encoding="utf-8") as text:
            for _ in text:
                pass
    except UnicodeDecodeError:
        return False
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidDataset(f"{path}: cannot be read: {error}") from error
    return True


def one_line(text: str) -> str:
    """A text without HTML entities, control characters and halves of surrogate pairs, one blank between its words."""
    whole = html.unescape(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in whole).split())


def plain(markup: str) -> str:
    """One line of a text that may hold HTML tags: "I <3 <b>You</b>, Love &gt; Hate" is "I <3 You, Love > Hate"."""
    return one_line(_without_tags(html.unescape(markup)) if "<" in markup or "&" in markup else markup)


def shortened(text: str, longest: int) -> str:
    """A text of at most so many characters; what was cut off is an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def clean_title(value: object) -> str:
    """One line of at most 150 characters; empty for what is no text."""
    return shortened(one_line(value), MAX_TITLE_CHARACTERS) if isinstance(value, str) else ""


def fitted(
    known: Mapping[str, Mapping[str, AttributeValue]], subjects: str
) -> tuple[dict[str, dict[str, AttributeValue]], tuple[str, ...]]:
    """The attributes of each of `subjects`, "items" or "users", cut to the contracts' limits; and a remark on each
    attribute that was cut.
    """
    fit = {one: {name: _cut(value) for name, value in attributes.items()} for one, attributes in known.items()}
    cut = Counter(name for one, kept in fit.items() for name in kept if kept[name] != known[one][name])
    return fit, tuple(f"{name} was too long and is cut, in {count:,} {subjects}" for name, count in sorted(cut.items()))


def _cut(value: AttributeValue) -> AttributeValue:
    if isinstance(value, list):
        return [shortened(text, MAX_LIST_VALUE_CHARACTERS) for text in value[:MAX_LIST_VALUES]]
    return shortened(value, MAX_TEXT_CHARACTERS) if isinstance(value, str) else value


@contextmanager
def _uncompressed(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as member:
            yield member
    else:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            yield cast(IO[bytes], file)


def _member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise InvalidDataset(f"{archive.filename}: must hold one file, holds {len(members)}")
    return members[0]


def _name_of(encoding: str) -> str:
    return "utf-8" if encoding == UTF_8 else encoding


def _without_tags(markup: str) -> str:
    reader = _TextReader()
    reader.feed(markup)
    reader.close()
    return "".join(reader.parts)


class _TextReader(HTMLParser):
    """Keeps what stands between tags; what a script or style sheet says is no text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unread = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._unread += tag in UNREAD
        self._part(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unread = max(0, self._unread - (tag in UNREAD))
        self._part(tag)

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self.parts.append(data)

    def _part(self, tag: str) -> None:
        if tag not in WITHIN_WORDS:
            self.parts.append(" ")
