"""What a terminal shows of strangers' text: as it is, whatever it looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loreline.client import FeaturesClient
from loreline.domain import Item, KnowledgeVectors, new_stamp
from services.cli import output
from tests.knowledge_samples import sample_knowledge
from tests.unit.cli.command import Command

STRANGE = ["Sony [/i]", "[import] of goods", "rated [/5]", "[bold]loud[/bold]", ":dog: and [link=x]y", "[red"]


@pytest.mark.parametrize("text", STRANGE)
def test_a_title_an_attribute_and_knowledge_are_shown_as_they_are(
    tmp_path: Path, features: FeaturesClient, text: str
) -> None:
    """Rich would take them for markup: swallow them, or end in a traceback."""
    stamp, vector = new_stamp(), np.ones(4, dtype=np.float32)
    features.put_contents([(stamp, Item("1", "retail", text, {"brand": text}))])
    features.put_knowledge([(stamp, "1", KnowledgeVectors(sample_knowledge(text), "minilm", vector, "", None))])
    done = Command(tmp_path, {"FEATURES_ADDRESS": features.address})("knowledge", "show", "1")
    assert done.code == 0, done.stderr
    assert done.stdout.count(text) == 3


@pytest.mark.parametrize("text", STRANGE)
def test_an_error_shows_what_it_is_about(tmp_path: Path, text: str) -> None:
    """Also in the name of a file or of an option's value."""
    done = Command(tmp_path, {})("train", "--config", text)
    assert done.code == 2
    assert f"no training config {text!r}" in done.stderr


@pytest.mark.parametrize("text", STRANGE)
def test_tables_and_lines_show_text_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Title, column and cell."""
    output.print_table(text, [text], [[text]])
    output.console.print(text)
    assert capsys.readouterr().out.count(text) == 4
