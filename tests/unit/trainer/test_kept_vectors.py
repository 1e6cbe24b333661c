"""Texts that were encoded once are not encoded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from loreline.client import ClientError, Encoded, ServiceUnavailableError
from services.trainer.knowledge.kept_vectors import EncoderChanged, KeptVectors


@dataclass
class Encoder:
    """A text's length and its number of blanks; writes down what it is asked, and fails from a call on."""

    name: str = "small"
    calls: int = 10**9
    asked: list[str] = field(default_factory=list)

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.calls -= 1
        if self.calls < 0:
            raise ServiceUnavailableError("UNAVAILABLE", "gone")
        self.asked += texts
        return Encoded(np.array([[len(text), text.count(" ")] for text in texts], dtype=np.float32), self.name, 0)


def encode(encoder: Encoder, path: Path, *texts: str) -> list[list[float]]:
    with KeptVectors(encoder, path) as kept:  # type: ignore[arg-type]
        return kept.encode(texts).vectors.tolist()


def test_a_second_run_encodes_what_is_new_alone(tmp_path: Path) -> None:
    """In the order of the texts, whatever was kept; one text twice is encoded once."""
    encode(Encoder(), tmp_path / "kept", "a b", "cd")
    again = Encoder()
    assert encode(again, tmp_path / "kept", "new", "cd", "a b", "new") == [[3, 0], [2, 0], [3, 1], [3, 0]]
    assert again.asked[1:] == ["new"]


def test_what_was_encoded_before_a_fault_is_kept(tmp_path: Path) -> None:
    """The run that was broken off had one page done."""
    with KeptVectors(Encoder(calls=2), tmp_path / "kept") as kept:  # type: ignore[arg-type]
        kept.encode(["one"])
        with pytest.raises(ClientError):
            kept.encode(["two"])
    again = Encoder()
    encode(again, tmp_path / "kept", "one", "two")
    assert again.asked[1:] == ["two"]


def test_another_encoder_shares_nothing(tmp_path: Path) -> None:
    """Its vectors are others."""
    encode(Encoder(), tmp_path / "kept", "a b")
    other = Encoder("large")
    encode(other, tmp_path / "kept", "a b")
    assert other.asked[1:] == ["a b"]


def test_an_encoder_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    """Vectors of two encoders would be mixed."""
    encoder = Encoder()
    with KeptVectors(encoder, tmp_path / "kept") as kept:  # type: ignore[arg-type]
        encoder.name = "large"
        with pytest.raises(EncoderChanged, match="from small to large"):
            kept.encode(["a"])


def test_more_texts_than_a_statement_takes_are_read_in_pages(tmp_path: Path) -> None:
    """As a whole catalogue has."""
    texts = [f"text {number}" for number in range(1200)]
    first = encode(Encoder(), tmp_path / "kept", *texts)
    again = Encoder()
    assert encode(again, tmp_path / "kept", *texts) == first
    assert len(again.asked) == 1
