"""Where Feast keeps packed features in Redis, and how their values are wrapped: the layout of feast 0.67.

It is Feast's own affair (feast.infra.key_encoding_utils and feast.infra.online_stores), so a test holds it against what
Feast writes. One hash an entity; its key is the number of join keys, then name and value, each with type and length,
all little-endian, then the project. Fields of the hash are named by a hash of `view:feature`; `_ts:view` is the time of
writing. A value is a protobuf message feast.types.Value, whose bytes_val is field 1. Our views set no time to live, so
no value is ever too old, and features deletes an item by writing a tombstone.
"""

from __future__ import annotations

import struct

import mmh3

PROJECT = b"loreline"
STRING = 2  # feast.types.ValueType.STRING
BYTES_VAL = 0x0A  # protobuf: field 1, length-delimited
LONGEST_LENGTH = 5  # bytes of a length below 2 ** 32


class UnexpectedLayout(Exception):
    """Redis holds something else than Feast 0.67 writes."""


def entity_key(join_key: str, entity_id: str) -> bytes:
    """The key of an entity's hash."""
    name, value = join_key.encode(), entity_id.encode()
    parts = (struct.pack("<I", 1), _typed(name), _typed(value), PROJECT)
    return b"".join(parts)


def field_names(view: str) -> list[bytes]:
    """The fields of a view's packed value, and of its time of writing."""
    return [struct.pack("<I", mmh3.hash(f"{view}:packed", signed=False)), f"_ts:{view}".encode()]


def packed_value(value: bytes | None, written: bytes | None) -> bytes | None:
    """The packed features in a hash's two fields; None when nothing is stored. Raises UnexpectedLayout."""
    if value is None and written is None:
        return None
    if value is None or written is None:
        raise UnexpectedLayout("a value without its time of writing, or a time without its value")
    return _bytes_val(value)


def _typed(text: bytes) -> bytes:
    return struct.pack("<II", STRING, len(text)) + text


def _bytes_val(message: bytes) -> bytes:
    if not message or message[0] != BYTES_VAL:
        raise UnexpectedLayout("a value that is no bytes_val")
    length, start = 0, 1
    for place, byte in enumerate(message[1 : 1 + LONGEST_LENGTH]):
        length |= (byte & 0x7F) << 7 * place
        start += 1
        if byte < 0x80:
            break
    if len(message) - start != length:
        raise UnexpectedLayout(f"a value of {len(message) - start} bytes that says it has {length}")
    return message[start:]
