"""The operator's commands on the whole streaming line in real processes: dead letters, rebuilding, restoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loreline.client import ItemDescription, KnowledgeClient, NotFoundError
from loreline.client.catalog import item_upserted
from loreline.domain import Item
from tests.faults.line import Line, running_line
from tests.unit.cli.command import Command
from tests.waiting import wait_until

SHIPPED = Path(__file__).resolve().parents[2] / "services" / "scenarios" / "movies.yaml"


@dataclass
class Platform:
    """The running line, the command on it, and its folder of scenarios, which every process reads first."""

    line: Line
    loreline: Command
    scenarios: Path

    def publish(self, *items: Item) -> None:
        """Send items' events."""
        events = [item_upserted(item) for item in items]
        self.line.send([(event.key, event.value) for event in events])

    def described(self, item_id: str) -> ItemDescription | None:
        """What is stored of an item; None before it is."""
        try:
            return self.line.features.describe_item(item_id)
        except NotFoundError:
            return None

    def prompt_version(self, item_id: str) -> int | None:
        """The prompt version of the item's knowledge; None before there is any."""
        found = self.described(item_id)
        return found.knowledge.provenance.prompt_version if found and found.knowledge else None

    def kill_knowledge(self) -> None:
        """End the knowledge process, and return when it is gone."""
        self.line.kill("knowledge")
        wait_until(lambda: self.line.processes.status("knowledge").pid is None, 10, "the end of knowledge")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """All processes over an empty home, with a folder of scenarios of its own."""
    home, scenarios = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("scenarios")
    with running_line(home, SCENARIO_DIRECTORY=str(scenarios)) as line:
        yield Platform(line, Command(home, {}), scenarios)


def film(item_id: str, scenario: str = "movies") -> Item:
    """A film of which the catalogue provider can write."""
    return Item(item_id, scenario, f"Film {item_id} (1994)", {"genres": ["Comedy"], "year": 1994.0})


def test_a_dead_letter_is_replayed_once_its_cause_is_repaired(platform: Platform) -> None:
    """A supplier sent items of a scenario that was not configured yet."""
    platform.publish(film("early", scenario="kino"))
    loreline = platform.loreline
    wait_until(
        lambda: loreline("dlq", "list", "--key", "early", "--json").document["total"] == 1, 30, "the dead letter"
    )
    (platform.scenarios / "kino.yaml").write_text(SHIPPED.read_text().replace("name: movies", "name: kino"))
    replayed = loreline("dlq", "replay", "--key", "early", "--json").document
    wait_until(lambda: platform.described("early") is not None, 30, "the item to be stored")

    assert replayed["reasons"] == {"INVALID": 1}
    assert replayed["replayed"] == 1
    assert loreline("dlq", "list", "--key", "early", "--json").document["total"] == 0


def test_knowledge_of_an_older_prompt_is_asked_for_anew(platform: Platform) -> None:
    """The stored texts are replaced, by the items' own events; --wait returns when none is left."""
    ids = [f"r{number}" for number in range(12)]
    platform.publish(*map(film, ids))
    wait_until(lambda: all(platform.prompt_version(item_id) for item_id in ids), 60, "the first knowledge")
    before = platform.described("r3")
    old = platform.prompt_version("r3")
    (platform.scenarios / "movies.yaml").write_text(
        SHIPPED.read_text().replace(f" version: {old}\n", f" version: {old + 1}\n")
    )
    platform.kill_knowledge()
    platform.line.revive("knowledge")
    where = f"prompt_version<{old + 1}"
    patience = ("--wait", "--patience-seconds", "60")
    done = platform.loreline("knowledge", "rebuild", "--where", where, "--scenario", "movies", *patience, "--json")
    after = platform.described("r3")

    assert (done.code, done.document["remaining"]) == (0, 0)
    assert done.document["published"] >= len(ids)
    assert {platform.prompt_version(item_id) for item_id in ids} == {old + 1}
    assert before is not None
    assert after is not None
    assert (after.content_event, after.content_stored_time) == (before.content_event, before.content_stored_time)


def test_a_lost_store_of_knowledge_comes_back_from_its_topic(platform: Platform) -> None:
    """The texts are those that are served, and a second run finds them there."""
    platform.publish(film("kept"))
    wait_until(lambda: platform.prompt_version("kept") is not None, 60, "the knowledge")
    served = platform.described("kept")
    platform.kill_knowledge()
    for path in platform.loreline.home.glob("knowledge.sqlite*"):
        path.unlink()
    platform.line.revive("knowledge")
    first, second = (platform.loreline("knowledge", "restore", "--json").document for _ in range(2))
    with KnowledgeClient(platform.line.processes.address("knowledge")) as knowledge:
        restored = knowledge.item_knowledge("kept")

    assert served is not None
    assert restored == served.knowledge
    assert (first["unfit"], first["new"] > 0) == ([], True)
    assert (second["answers"], second["new"]) == (first["answers"], 0)


def test_published_interactions_reach_the_history(platform: Platform, tmp_path: Path) -> None:
    """In the order of their times, and once however often the file is published."""
    lines = [
        f'{{"user_id": "viewer", "item_id": "f{n}", "scenario": "movies", "rating": {n}, "time": {1000 - n}}}'
        for n in (1, 2, 3)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    for _ in range(2):
        platform.loreline("interactions", "publish", str(tmp_path / "log.jsonl"))
    (tmp_path / "end.jsonl").write_text('{"user_id": "viewer", "item_id": "last", "scenario": "movies"}')
    platform.loreline("interactions", "publish", str(tmp_path / "end.jsonl"))
    history = platform.line.features
    wait_until(lambda: history.user("viewer").user.item_ids[-1:] == ["last"], 30, "the last interaction")

    assert history.user("viewer").user.item_ids == ["f3", "f2", "f1", "last"]
