"""A language model server that goes wrong in every way that its contract knows, in the whole line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loreline.client.catalog import item_upserted
from loreline.domain import Item
from tests.faults.line import Line, running_line
from tests.language_model_stub import FaultStub, fault_stub
from tests.waiting import wait_until

ITEMS = 60  # twice 60 calls, when each is asked once more, are over 100
MODES = ("429", "424", "500", "503", "cut", "garbage")


@pytest.fixture(scope="module")
def line_and_stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Line, FaultStub]]:
    """One line over one server for all modes; each sends items of its own."""
    with line_over_stub(tmp_path_factory.mktemp("line")) as found:
        yield found


@contextmanager
def line_over_stub(home: Path, request_timeout: str = "10", **variables: str) -> Iterator[tuple[Line, FaultStub]]:
    """The line, asking a stub with short pauses, so that a hundred failures take seconds."""
    with (
        fault_stub() as stub,
        running_line(
            home,
            provider="tgi",
            KNOWLEDGE_TGI_URL=stub.url("switch"),
            KNOWLEDGE_REQUEST_TIMEOUT_SECONDS=request_timeout,
            KNOWLEDGE_RETRY_INITIAL_SECONDS="0.01",
            KNOWLEDGE_RETRY_MAX_SECONDS="0.05",
            KNOWLEDGE_BREAKER_PAUSE_SECONDS="0.05",
            **variables,
        ) as line,
    ):
        yield line, stub


def test_a_server_that_fails_some_calls_costs_no_item_its_knowledge(line_and_stub: tuple[Line, FaultStub]) -> None:
    """The items wait, are asked about again, and each is answered once."""
    line, stub = line_and_stub
    enriched_after(line, stub, "503", failures=10, prefix="few")


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_failed_calls_cost_no_item_its_knowledge(line_and_stub: tuple[Line, FaultStub], mode: str) -> None:
    """No dead letter, no fallback, no second answer to one question, no call more than it takes."""
    line, stub = line_and_stub
    enriched_after(line, stub, mode, failures=100, prefix=f"many-{mode}")


@pytest.mark.slow
def test_calls_that_hang_cost_no_item_its_knowledge(tmp_path: Path, full_size: bool) -> None:
    """Each is given up after the request's time; one at a time tries while the server is known to hang."""
    hanging = 100 if full_size else 25
    with line_over_stub(tmp_path, request_timeout="0.8") as (line, stub):
        stub.hang_seconds = 60
        send(line, "hang", stub, "slow", hanging)
        wait_until(lambda: providers(line, "hang") == ["tgi"] * ITEMS, 280, "knowledge after the hang")
        assert stub.calls["switch"] <= hanging + 2 * ITEMS
        assert line.dead_letters() == []


@pytest.mark.slow
def test_empty_texts_end_as_catalogue_texts_that_say_why(line_and_stub: tuple[Line, FaultStub]) -> None:
    """A text that fails its checks is asked for once more; then the fallback writes."""
    line, stub = line_and_stub
    calls = stub.calls["switch"]
    send(line, "empty", stub, "empty", 2 * ITEMS)
    wait_until(lambda: providers(line, "empty") == ["catalogue"] * ITEMS, 120, "the fallback's texts")
    assert stub.calls["switch"] == calls + 2 * ITEMS
    reason = line.features.describe_item("empty-0").knowledge
    assert reason is not None
    assert reason.provenance.fallback_reason.startswith("empty")


@pytest.mark.slow
def test_without_a_fallback_empty_texts_are_dead_letters_with_their_reason(tmp_path: Path) -> None:
    """The item stays rankable on its content."""
    with line_over_stub(tmp_path, KNOWLEDGE_FALLBACK_PROVIDER="") as (line, stub):
        send(line, "empty", stub, "empty", 2 * ITEMS)
        line.wait_until_done(120)
        letters = line.dead_letters()
        assert sorted(letter.key.decode() for letter in letters) == sorted(f"empty-{n}" for n in range(ITEMS))
        assert {dict(letter.headers)["dead-letter-reason"] for letter in letters} == {b"KNOWLEDGE_REJECTED_TEXT"}
        assert providers(line, "empty") == [""] * ITEMS


def enriched_after(line: Line, stub: FaultStub, mode: str, failures: int, prefix: str) -> None:
    """Send items while the next calls go wrong, and hold what must come of it."""
    calls, answered = stub.calls["switch"], stub.answered
    send(line, prefix, stub, mode, failures)
    wait_until(lambda: providers(line, prefix) == ["tgi"] * ITEMS, 200, "knowledge by the server")
    assert stub.answered == answered + ITEMS
    assert stub.calls["switch"] == calls + ITEMS + failures
    assert line.dead_letters() == []


def send(line: Line, prefix: str, stub: FaultStub, mode: str, failures: int) -> None:
    """Publish items of that prefix; so many calls from now on go wrong."""
    stub.go_wrong(mode, failures)
    events = [item_upserted(Item(f"{prefix}-{n}", "movies", f"Night Train {n} of {prefix}")) for n in range(ITEMS)]
    line.send([(event.key, event.value) for event in events])
    line.wait_until_done(60, stages=["content"])


def providers(line: Line, prefix: str) -> list[str]:
    """Who wrote the knowledge of each item; empty while there is none."""
    described = (line.features.describe_item(f"{prefix}-{n}") for n in range(ITEMS))
    return [found.knowledge.provenance.provider if found.knowledge else "" for found in described]
