"""`loreline knowledge rebuild` over a real features service and a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from loreline.client import FeaturesClient
from loreline.client.catalog import event_document
from loreline.domain import Interaction, KnowledgeVectors, Stamp
from services.cli.knowledge.jobs import JobFile, Standing
from services.cli.knowledge.rebuilding import Pace
from services.cli.settings import CliSettings
from services.cli.topic_reading import read_topic
from services.embedding.adapter import Adapter
from services.embedding.servicer import SERVICE_NAME, service
from services.model_registry import ModelRegistry
from services.runtime.health import HealthMonitor
from services.runtime.server import ServerOptions, start_server
from tests.knowledge_samples import sample_knowledge
from tests.model_versions import register_version
from tests.unit.cli.command import Command, on_topics_of_its_own
from tests.unit.features.feature_samples import film, stamp

OLD, NEW = "old-encoder", "test-encoder"  # the second is that of the tests' model versions
WIDTH = 6


@dataclass
class Shop:
    """A features service with items and users, and the command on it."""

    loreline: Command
    features: FeaturesClient
    broker: str
    name: str

    def store(self, item_id: str, prompt_version: int | None = 1, scenario: str = "movies") -> None:
        """Store an item under the event c-ID, with knowledge of a prompt version, if any."""
        item = replace(film(item_id, f"Film {item_id}"), scenario=scenario)
        self.features.put_contents([(stamp(f"c-{item_id}"), item)])
        if prompt_version is not None:
            self.features.put_knowledge([(stamp(f"c-{item_id}"), item_id, knowledge(item_id, prompt_version))])

    def store_user(self, user_id: str, known: bool = True) -> None:
        """Store a user with one interaction, and knowledge that answers it."""
        event = Stamp(f"h-{user_id}", stamp("").event_time)
        self.features.append_interactions([Interaction(event, user_id, "a", "movies", 4.0)])
        if known:
            self.features.put_user_knowledge(user_id, event, knowledge(user_id, 1))

    def rebuild(self, *arguments: str, **variables: str) -> SimpleNamespace:
        """The command with --json."""
        done = self.loreline("knowledge", "rebuild", *arguments, "--json", **variables)
        return SimpleNamespace(code=done.code, stderr=done.stderr, **(done.document if done.stdout else {}))

    def published(self, kind: str = "items") -> list[dict]:
        """The events of a topic."""
        events = [event_document(record.value) for record in read_topic(self.broker, f"{self.name}-{kind}")]
        return [event for event in events if event is not None]


def knowledge(subject_id: str, prompt_version: int, encoder: str = OLD) -> KnowledgeVectors:
    """Knowledge whose vectors are an old encoder's."""
    known = sample_knowledge(f"What is known of {subject_id}.", key=f"key-{subject_id}")
    known = replace(known, provenance=replace(known.provenance, prompt_version=prompt_version))
    return KnowledgeVectors(known, encoder, np.ones(WIDTH, dtype=np.float32), "", None)


@pytest.fixture
def shop(tmp_path: Path, broker: str, unique_name: str, features: FeaturesClient) -> Shop:
    """Fresh topics of one partition, so that the order of events is known, and an empty features service."""
    loreline = on_topics_of_its_own(tmp_path / "home", broker, unique_name)
    loreline.variables["FEATURES_ADDRESS"] = features.address
    loreline("topics", "create", TOPIC_PARTITIONS="1", INTERACTIONS_PARTITIONS="1")
    return Shop(loreline, features, broker, unique_name)


class TestAskingAnew:
    """Items and users whose knowledge matches go through the line again."""

    def test_what_matches_is_published_with_its_own_event(self, shop: Shop) -> None:
        """Id, time and content are those that are stored, so that the content is a duplicate."""
        shop.store("a", prompt_version=1)
        shop.store("b", prompt_version=3)
        shop.store("c", prompt_version=None)
        done = shop.rebuild("--where", "prompt_version<3")
        (event,) = shop.published()

        assert (done.code, done.matched, done.published) == (0, 1, 1)
        assert (event["event_id"], event["event_time"]) == ("c-a", "2026-03-01T12:00:00Z")
        assert event["item_upserted"]["item"]["title"] == "Film a"
        stored = shop.features.describe_item("a").item
        attributes = event["item_upserted"]["item"]["attributes"]
        assert attributes["genres"]["texts"]["values"] == stored.attributes["genres"]
        assert attributes["year"]["number"] == stored.attributes["year"]

    def test_items_without_knowledge_and_of_one_scenario_can_be_meant(self, shop: Shop) -> None:
        """`knowledge=none` finds them; other scenarios are left alone."""
        shop.store("a", None)
        shop.store("b", None, scenario="books")
        shop.store("c", 1)
        shop.rebuild("--where", "knowledge=none", "--scenario", "movies")

        assert [event["event_id"] for event in shop.published()] == ["c-a"]

    def test_a_dry_run_publishes_nothing(self, shop: Shop) -> None:
        """It counts."""
        shop.store("a")
        done = shop.rebuild("--where", "prompt_version=1", "--dry-run")

        assert (done.matched, done.published, shop.published()) == (1, 0, [])

    def test_a_job_that_was_broken_off_goes_on_after_the_last_acknowledged_item(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here by Ctrl-C after the third; a job that was finished begins anew, and so does one with --from-start."""
        for number in range(6):
            shop.store(f"i{number}")
        with monkeypatch.context() as patched:
            patched.setattr(Pace, "wait", interrupting_the_fourth())
            interrupted = shop.loreline("knowledge", "rebuild", "--where", "prompt_version=1")
        resumed = shop.rebuild("--where", "prompt_version=1")
        events = [event["event_id"] for event in shop.published()]
        again = shop.rebuild("--where", "prompt_version=1")

        assert interrupted.code == 130
        assert "3 are published; the same command goes on after them" in interrupted.stderr
        assert (resumed.resumed_after, resumed.matched, resumed.published) == ("i2", 3, 6)
        assert events == [f"c-i{number}" for number in range(6)]
        assert (again.resumed_after, again.published) == ("", 6)

    def test_from_start_forgets_where_the_job_was(self, shop: Shop) -> None:
        """Everything that matches is published."""
        for name in ("a", "b"):
            shop.store(name)
        words = ("item", "prompt_version=1", "")
        JobFile(CliSettings(home=shop.loreline.home).home / "rebuild", *words).write(Standing("a", 1))
        done = shop.rebuild("--where", "prompt_version=1", "--from-start")

        assert (done.resumed_after, done.published) == ("", 2)

    def test_users_are_asked_about_by_an_event_of_their_own(self, shop: Shop) -> None:
        """With the scenario of their knowledge, or the one given where they have none."""
        shop.store_user("u1")
        shop.store_user("u2", known=False)
        missing = shop.loreline("knowledge", "rebuild", "--subject", "user", "--where", "knowledge=none")
        shop.rebuild("--subject", "user", "--where", "knowledge=none", "--scenario", "movies")
        shop.rebuild("--subject", "user", "--where", "prompt_version=1")
        requests = [event["preferences_requested"] for event in shop.published("interactions")]

        assert (missing.code, shop.published()) == (2, [])
        assert "--scenario: must be given: user 'u2'" in missing.stderr
        assert requests == [{"user_id": "u2", "scenario": "movies"}, {"user_id": "u1", "scenario": "movies"}]

    def test_waiting_ends_when_nothing_matches(self, shop: Shop) -> None:
        """At once where there was nothing."""
        shop.store("a", prompt_version=3)
        done = shop.rebuild("--where", "prompt_version<3", "--wait")

        assert (done.code, done.matched, done.remaining) == (0, 0, 0)

    def test_waiting_gives_up_when_nothing_moves(self, shop: Shop) -> None:
        """Here no updater runs: it ends with 1 and says what still matches."""
        shop.store("a")
        done = shop.rebuild("--where", "prompt_version<3", "--wait", "--patience-seconds", "1")

        assert (done.code, done.remaining) == (1, 1)
        assert "1 still match, and nothing moves" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--where: must have 1 to 1000 characters"),
        (["--where", "prompt<3"], "the fields are provider, model"),
        (["--vectors", "--wait"], "--wait: has no use beside --vectors"),
        (["--where", "prompt_version<3", "--per-second", "0"], "--per-second"),
    ],
)
def test_bad_input_ends_with_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Before any service is asked."""
    done = Command(tmp_path, {})("knowledge", "rebuild", *arguments)

    assert done.code == 2
    assert words in done.stderr


def interrupting_the_fourth() -> Callable[[Pace], None]:
    """Lets three events pass, and then is Ctrl-C."""
    passed = iter(range(3))

    def wait(_: Pace) -> None:
        if next(passed, None) is None:
            raise KeyboardInterrupt

    return wait


class SixNumbers:
    """An encoder whose vectors are of the width that the tests' adaptors take."""

    id, dimension = NEW, WIDTH

    def encode(self, texts: list[str], timeout_seconds: float | None = None) -> SimpleNamespace:
        """Vectors that depend on a text's length alone."""
        rows = np.array([[len(text)] * WIDTH for text in texts], dtype=np.float32)
        return SimpleNamespace(vectors=rows, truncated=0)


@contextmanager
def embedding(registry: ModelRegistry) -> Iterator[str]:
    """The address of an embedding service over that encoder."""
    health = HealthMonitor({}, [SERVICE_NAME])
    made = service(SixNumbers(), Adapter(registry))  # type: ignore[arg-type]
    server = start_server(ServerOptions("127.0.0.1:0", workers=2), [made], health)
    address = server.address
    yield address
    health.stop()
    server.stop(0).wait()


class TestVectors:
    """Stored texts are encoded with the present encoder, without a question."""

    def test_only_vectors_of_another_encoder_are_made_anew(self, shop: Shop) -> None:
        """Of items and users; the texts stay, and what is done is not done again."""
        for name in ("a", "b"):
            shop.store(name)
        shop.store("c", None)
        shop.store_user("u1")
        before = shop.features.describe_item("a").knowledge
        with embedding(ModelRegistry(CliSettings(home=shop.loreline.home).model_registry)) as address:
            first, second = (shop.rebuild("--vectors", EMBEDDING_ADDRESS=address) for _ in range(2))
        (page,) = shop.features.knowledge_vectors("item")

        assert first.encoder == NEW
        assert first.outcomes == {"items": {"APPLIED": 2}, "users": {"APPLIED": 1}}
        assert second.matched == {"items": 0, "users": 0}
        assert (page.encoder, page.vectors[0].tolist()) == (NEW, [len("What is known of a.")] * WIDTH)
        assert shop.features.describe_item("a").knowledge == before
        assert shop.features.describe_user("u1").encoder == NEW
        assert shop.published() == []

    def test_they_are_adapted_for_the_active_version(self, shop: Shop) -> None:
        """So that they serve at once; also where a later event repeated the content."""
        shop.store("a")
        shop.features.put_contents([(stamp("again", 5), film("a", "Film a"))])
        registry = ModelRegistry(CliSettings(home=shop.loreline.home).model_registry)
        register_version(registry, promote=True)
        with embedding(registry) as address:
            done = shop.loreline("knowledge", "rebuild", "--vectors", "--subject", "item", EMBEDDING_ADDRESS=address)
        described = shop.features.describe_item("a")

        assert done.code == 0
        assert (described.encoder, described.model_versions) == (NEW, ["1"])

    def test_a_version_of_another_encoder_adapts_nothing(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its adaptor would make nonsense: the command says that a version must be trained."""
        shop.store("a")
        registry = ModelRegistry(CliSettings(home=shop.loreline.home).model_registry)
        register_version(registry, promote=True)
        monkeypatch.setattr(SixNumbers, "id", "third-encoder")
        with embedding(registry) as address:
            done = shop.loreline("knowledge", "rebuild", "--vectors", EMBEDDING_ADDRESS=address)
        described = shop.features.describe_item("a")

        assert done.code == 0
        assert "the active version 1 was trained on another encoder" in done.stdout
        assert (described.encoder, described.model_versions) == ("third-encoder", [])
