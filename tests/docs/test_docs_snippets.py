"""What stands in the docs' code blocks works: item lines are items, requests fit the contracts, Python runs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import kafka
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2

import loreline.client
from loreline.client import RankingClient
from loreline.client.ranking_calls import ranked_of
from loreline.ranking.v1 import ranking_pb2
from services.cli.interaction_files import read_interactions
from services.cli.item_files import read_items
from services.trainer.data.datasets.generic import read_mapping
from services.updater.events import Upsert, decode

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONTRACTS = (health_pb2, ranking_pb2)  # loaded, so that the descriptor pool knows their methods


def blocks(language: str) -> list[Any]:
    """Every fenced block of a language, named by its page and place."""
    found = []
    for page in PAGES:
        code = re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
        )
        found += [pytest.param(text, id=f"{page.stem}-{number}") for number, text in enumerate(code)]
    return found


@pytest.mark.parametrize("block", blocks("json"))
def test_a_line_is_one_that_publish_takes(block: str, tmp_path: Path) -> None:
    """Each JSON block is a file for `loreline items publish`, or for `loreline interactions publish`."""
    file = tmp_path / "lines.jsonl"
    file.write_text(block, encoding="utf-8")
    found = list(read_interactions(file)) if '"user_id"' in block else read_items(file)
    assert len(found) == len(block.strip().splitlines())


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_mapping_is_one_that_data_load_takes(block: str, tmp_path: Path) -> None:
    """Each YAML block describes a dataset of three files."""
    file = tmp_path / "mapping.yaml"
    file.write_text(block, encoding="utf-8")
    assert read_mapping(file).interactions.time_unit == "ms"


def grpcurl_calls() -> list[Any]:
    """(request, service/method) of every grpcurl line."""
    calls: list[Any] = []
    for block in blocks("bash"):
        for line in block.values[0].replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["grpcurl"]:
                calls.append(pytest.param(words[words.index("-d") + 1], words[-1], id=f"{block.id}-{len(calls)}"))
    return calls


@pytest.mark.parametrize(("request_json", "path"), grpcurl_calls())
def test_a_grpcurl_request_fits_its_method(request_json: str, path: str) -> None:
    """The method exists, and its request has every field that is named."""
    service, method = path.split("/")
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(method)
    message = message_factory.GetMessageClass(found.input_type)()
    json_format.Parse(request_json, message)
    assert (
        json.loads(request_json).keys()
        <= json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        ).keys()
    )


RANKED = ranked_of(ranking_pb2.RankResponse(item_ids=["50"], scores=[0.9], knowledge_used=[True], model_version="1"))


class RecordingProducer:
    """Stands for Kafka's producer and decodes, as the updater does, what it is given."""

    def __init__(self, bootstrap_servers: str) -> None:
        assert ":" in bootstrap_servers

    def send(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Check the record."""
        assert topic == "items"
        assert isinstance(decode(key, value, dict(headers), 1 << 20), Upsert)

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("block", blocks("python"))
def test_a_python_block_runs(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for what is behind the network alone."""
    ranking = create_autospec(RankingClient)  # refuses calls that the real one would refuse
    instance = ranking.return_value
    instance.__enter__.return_value = instance
    instance.rank.return_value = RANKED
    monkeypatch.setattr(loreline.client, "RankingClient", ranking)
    monkeypatch.setattr(kafka, "KafkaProducer", RecordingProducer)
    exec(compile(block, "docs", "exec"), {"__name__": "docs"})


def test_blocks_were_found() -> None:
    """None of the tests above may pass by having nothing to look at."""
    assert blocks("json")
    assert grpcurl_calls()
    assert len(blocks("python")) >= 2
