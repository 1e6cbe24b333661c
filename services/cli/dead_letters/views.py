"""What people and programs see of a dead letter. Its bytes are a stranger's: nothing of them reaches a terminal raw."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.panel import Panel
from rich.text import Text

from loreline.client.catalog import CONTENT_TYPE_HEADER, PROTOBUF, event_document
from services.cli import output
from services.cli.dead_letters.letters import DeadLetter, Resolution

DETAIL_CHARACTERS, PREVIEW_BYTES, LINE_BYTES = 70, 512, 16


@dataclass(frozen=True)
class Listed:
    """A letter without its bytes."""

    at: str
    time: datetime
    reason: str
    stage: str
    key: str
    attempts: str
    detail: str
    topic: str
    value_bytes: int
    resolution: Resolution | None

    def row(self, with_resolution: bool) -> list[object]:
        """The letter's line of a table."""
        detail = self.detail if len(self.detail) <= DETAIL_CHARACTERS else self.detail[: DETAIL_CHARACTERS - 1] + "…"
        cells = [self.at, f"{self.time:%Y-%m-%d %H:%M:%S}", self.reason, self.stage, self.key, self.attempts, detail]
        return [*cells, self.resolution.action if self.resolution else "open"] if with_resolution else [*cells]


def listed(letter: DeadLetter, resolution: Resolution | None) -> Listed:
    """A letter as it is listed."""
    return Listed(
        at=letter.at,
        time=letter.time,
        reason=readable(letter.note("reason")),
        stage=readable(letter.note("stage")),
        key=readable_bytes(letter.key),
        attempts=readable(letter.note("attempts")),
        detail=readable(letter.note("detail")),
        topic=readable(letter.note("topic")),
        value_bytes=len(letter.value or b""),
        resolution=resolution,
    )


def shown(letter: DeadLetter, resolution: Resolution | None) -> dict[str, Any]:
    """A letter as a document, with all of its bytes."""
    return {
        "at": letter.at,
        **letter.notes,
        "key": readable_bytes(letter.key),
        "headers": {name: readable_bytes(value) for name, value in letter.headers},
        "event": _event(letter),
        "value_base64": None if letter.value is None else base64.b64encode(letter.value).decode(),
        "resolution": resolution,
    }


def print_letter(letter: DeadLetter, resolution: Resolution | None) -> None:
    """Print why a letter died, its headers, and its value: as an event's JSON, or its first bytes."""
    notes = [(name, readable(value)) for name, value in letter.notes.items()]
    own = [(f"header {name}", readable_bytes(value)) for name, value in letter.headers]
    became = f"{resolution.action} {resolution.time} by {resolution.by}" if resolution else "open"
    rows = [*notes, ("key", readable_bytes(letter.key)), *own, ("became", readable(became))]
    output.print_table(f"Dead letter {letter.at}", ["what", "value"], rows)
    event = _event(letter)
    if event is not None:
        lines = json.dumps(event, indent=2, ensure_ascii=False).split("\n")
        body, title = "\n".join(map(readable, lines)), "value, read as an event"
    else:
        body, title = preview(letter.value), f"value, {len(letter.value or b''):,} bytes that are no event"
    output.console.print(Panel(Text(body), title=title, title_align="left"))


def preview(value: bytes | None) -> str:
    """The first bytes: as escaped text where they are text, else as hexadecimal with what can be read beside it."""
    if not value:
        return "(nothing)" if value is None else "(empty)"
    head = value[:PREVIEW_BYTES]
    more = "" if len(value) <= PREVIEW_BYTES else f"\n... and {len(value) - PREVIEW_BYTES:,} bytes more"
    try:
        return readable(head.decode("utf-8")) + more
    except UnicodeDecodeError:
        lines = (head[start : start + LINE_BYTES] for start in range(0, len(head), LINE_BYTES))
        return "\n".join(f"{line.hex(' '):<47}  {_ascii(line)}" for line in lines) + more


def readable(text: str) -> str:
    """The text with everything that a terminal would obey written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def readable_bytes(data: bytes | None) -> str:
    """Bytes as readable text; what is no UTF-8 as an escape."""
    return readable((data or b"").decode("utf-8", "backslashreplace"))


def _event(letter: DeadLetter) -> dict[str, Any] | None:
    content_type = dict(letter.headers).get(CONTENT_TYPE_HEADER, PROTOBUF.encode())
    return event_document(letter.value or b"", (content_type or b"").decode("utf-8", "replace"))


def _ascii(line: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
