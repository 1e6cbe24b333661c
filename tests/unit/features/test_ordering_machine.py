"""The ordering rules against a model of plain lists: any order, repetitions, and crashes in the middle of a write.

Real Feast store, real ledger. A crash comes before the n-th write of a batch, those of the online store's views and the
ledger's, last, counted; the process starts anew, and the batch is handled again, sooner or later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from feature_repo.store import apply_definitions, open_store
from loreline.client import unpack_item
from loreline.domain import Interaction, KnowledgeVectors, Stamp
from services.features.descriptions import Descriptions
from services.features.item_features import ContentWrite, ItemFeatures, ItemWrite, KnowledgeWrite, Removal
from services.features.ledger import Ledger
from services.features.online_store import OnlineStore
from services.features.redis_ledger import RedisLedger
from services.features.sqlite_ledger import SqliteLedger
from services.features.user_features import History, UserFeatures
from services.runtime.errors import NotFound
from tests.unit.features.feature_samples import NOON, film, vectors
from tests.unit.features.ordering_model import Answer, Entry, Key, Known, ModelItem, ModelUser

NOON_US = int(NOON.timestamp()) * 1_000_000
NAMES = ("a", "b")
SHORT = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate],  # over real files a failure would be made shorter for minutes
)
examples = count()  # each has ids of its own, so that all share the files

events = st.integers(0, 29) | st.integers(0, 7)  # late ones end what can happen, so early ones are drawn more often
names = st.sampled_from(NAMES)
crashes = st.one_of(st.none(), st.integers(0, 4))
answers = st.tuples(
    st.integers(0, 2),
    st.sampled_from(("", "Another. ")),
    st.sampled_from(("bge", "minilm")),
    st.sampled_from(("", "1", "2", "3")),
)  # written, what the text begins with, encoder, model version


class Crash(Exception):
    """The process died."""


@dataclass
class Fuse:
    """Lets some writes through, then breaks."""

    left: int | None = None

    def pass_through(self) -> None:
        """One write more. Raises Crash."""
        if self.left == 0:
            raise Crash
        self.left = None if self.left is None else self.left - 1


class FusedStore(OnlineStore):
    """An online store that a process writes to until it dies."""

    fuse: Fuse

    def write(self, view, rows):
        """As an online store, if the fuse holds."""
        self.fuse.pass_through()
        super().write(view, rows)


class FusedLedger(Ledger):
    """A ledger that a process writes to until it dies."""

    fuse: Fuse

    def put_items(self, states, hold=None):
        """As a ledger, if the fuse holds."""
        self.fuse.pass_through()
        super().put_items(states, hold)

    def put_users(self, states, hold=None):
        """As a ledger, if the fuse holds."""
        self.fuse.pass_through()
        super().put_users(states, hold)


class FusedSqliteLedger(FusedLedger, SqliteLedger):
    """In a file."""


class FusedRedisLedger(FusedLedger, RedisLedger):
    """In Redis."""


@dataclass(frozen=True)
class Parts:
    """The files that outlive a crash, and the fuse of both."""

    store: FusedStore
    ledger: FusedLedger
    fuse: Fuse


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def parts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """One feature directory and ledger for all examples."""
    directory: Path = tmp_path_factory.mktemp("features")
    feast = open_store(directory)
    apply_definitions(feast, directory)
    if request.param == "redis":
        made: FusedLedger = FusedRedisLedger(request.getfixturevalue("redis_connection"))
    else:
        made = FusedSqliteLedger(directory / "ledger.db")
    with closing(made) as ledger:
        store, fuse = FusedStore(feast), Fuse()
        store.fuse = ledger.fuse = fuse
        yield Parts(store, ledger, fuse)


def answered(event: Key, drawn: tuple[int, str, str, str]) -> Answer:
    """An answer to an event."""
    written, text, encoder, version = drawn
    return Answer(event, written, f"{text}About {event[1]}.", encoder, version)


def as_vectors(answer: Answer) -> KnowledgeVectors:
    """What a client sends of an answer."""
    return vectors(answer.value, answer.version, answer.text, answer.encoder, answer.written)


def as_known(described) -> tuple[str, str] | None:
    """Text and encoder of a description or a listed subject."""
    return (described.knowledge.text, described.encoder) if described.knowledge else None


def expected_known(known: Known) -> tuple[str, str] | None:
    """The same of the model."""
    return (known.answer.text, known.answer.encoder) if known.answer else None


def values(augmented) -> dict[str, float]:
    """One number for each vector."""
    return {version: float(vector[0]) for version, vector in augmented.items()}


class FeaturesMachine(RuleBasedStateMachine):
    """Delivers writes, crashes in some, and delivers those again."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts, self.prefix = parts, f"{next(examples)}-"
        self.unfinished: list[Callable[[], None]] = []
        self.start()

    def start(self) -> None:
        """A process begins with what is on disk."""
        self.items = ItemFeatures(self.parts.store, self.parts.ledger)
        self.users = UserFeatures(self.parts.store, self.parts.ledger)
        self.descriptions = Descriptions(self.parts.store, self.parts.ledger)

    def id_of(self, name: str) -> str:
        """A subject's id in this example."""
        return self.prefix + name

    def deliver(self, write: Callable[[], None], crash: int | None) -> None:
        """Handle a write; after a crash it waits to be handled again, and outcomes are not seen."""
        self.parts.fuse.left = crash
        try:
            write()
        except Crash:
            self.start()
            self.unfinished.append(write)
        finally:
            self.parts.fuse.left = None

    @rule()
    def deliver_again(self) -> None:
        """What a crash left unfinished comes once more; other events of the subject may have overtaken it."""
        if self.unfinished:
            self.unfinished.pop(0)()

    def teardown(self) -> None:
        """When all was delivered, what is stored is what the model says."""
        while self.unfinished:
            self.deliver_again()
        self.check()

    def check(self) -> None:
        """Compare."""
        raise NotImplementedError


class ItemsMachine(FeaturesMachine):
    """Upserts, removals, knowledge and promotions of two items."""

    @initialize()
    def begin(self) -> None:
        """Nothing is stored."""
        self.model = {name: ModelItem() for name in NAMES}

    @rule(batch=st.lists(st.tuples(names, events, st.none() | answers), min_size=1, max_size=8), crash=crashes)
    def put(self, batch, crash) -> None:
        """One request: contents, removals (every eighth event) and answers, of any items."""
        self.deliver(lambda: self.put_batch(batch), crash)

    @rule(item=names, answered_before=st.booleans(), drawn=answers, crash=crashes)
    def answer(self, item, answered_before, drawn, crash) -> None:
        """An answer to the content that counts, or to the event that is answered already."""
        known = self.model[item].known.answer
        event = known.event if known and answered_before else self.model[item].event
        if event:
            self.deliver(lambda: self.put_batch([(item, int(event[1][1:]), drawn)]), crash)

    @rule(item=names, version=st.sampled_from(("1", "2", "3")), crash=crashes)
    def promote(self, item, version, crash) -> None:
        """A promotion brings an augmented vector."""
        self.deliver(lambda: self.put_augmented(item, version), crash)

    def put_batch(self, batch) -> None:
        """Store a batch; then, not before, the model knows."""
        outcomes = self.items.put([self.write_of(*one) for one in batch])
        assert [outcome.value for outcome in outcomes] == [self.told(*one) for one in batch]

    def put_augmented(self, item: str, version: str) -> None:
        """Store a vector of a version."""
        vector = np.full((1, 4), int(version), dtype=np.float32)
        known = self.parts.ledger.etags("item", [self.id_of(item)])
        expected = self.model[item].adapt(version, int(version))
        assert self.items.put_augmented(version, list(known), list(known.values()), vector[: len(known)]) == expected

    def write_of(self, name: str, number: int, drawn) -> ItemWrite:
        """An event is the same whenever it comes: three share a minute, up to ten a title."""
        stamp = Stamp(f"e{number:02}", NOON + timedelta(minutes=number // 3))
        if drawn:
            return KnowledgeWrite(stamp, self.id_of(name), as_vectors(answered(self.key(number), drawn)))
        title = self.title(number)
        return ContentWrite(stamp, film(self.id_of(name), title)) if title else Removal(stamp, self.id_of(name))

    def told(self, name: str, number: int, drawn) -> str:
        """Tell the model; what it says."""
        if drawn:
            return self.model[name].put_knowledge(answered(self.key(number), drawn))
        return self.model[name].put(self.key(number), self.title(number))

    def key(self, number: int) -> Key:
        """What an event is ordered by."""
        return number // 3, f"e{number:02}"

    def title(self, number: int) -> str | None:
        """The title that an event brings; None: it removes the item."""
        return None if number % 8 == 7 else f"Title {number // 10}"

    def check(self) -> None:
        """Packed values, the stream of changes, descriptions and the listing."""
        ids = [self.id_of(name) for name in NAMES]
        living = [self.id_of(name) for name in NAMES if self.model[name].title]
        packed, missing = self.items.get_packed(ids)
        assert missing == [i for i in ids if i not in living]
        streamed = {item.item_id: item for item in map(unpack_item, self.streamed())}
        listed = {one.subject_id: one for page in self.descriptions.subjects("item", "", "") for one in page}
        for item in map(unpack_item, packed):
            model = self.model[item.item_id.removeprefix(self.prefix)]
            assert values(item.augmented) == values(streamed[item.item_id].augmented) == model.known.augmented
            described = self.descriptions.item(item.item_id)
            assert (described.item.title, described.content.event_id) == (model.title, model.event[1])
            assert (described.known.knowledge is None) == (model.known.answer is None)
            assert listed[item.item_id].item == described.item
            assert as_known(described.known) == as_known(listed[item.item_id]) == expected_known(model.known)
        for item_id in missing:
            assert item_id not in listed
            assert item_id not in streamed or streamed[item_id].deleted
            with pytest.raises(NotFound):
                self.descriptions.item(item_id)

    def streamed(self) -> Sequence[bytes]:
        """What a watcher that begins now is told."""
        return [packed for _, packed in self.parts.ledger.item_page(0, 100_000)]


class UsersMachine(FeaturesMachine):
    """Interactions, whole histories, preferences and promotions of two users."""

    @initialize()
    def begin(self) -> None:
        """Nothing is stored."""
        self.model = {name: ModelUser() for name in NAMES}

    @rule(batch=st.lists(st.tuples(names, st.integers(0, 699)), min_size=1, max_size=6), crash=crashes)
    def append(self, batch, crash) -> None:
        """One request of a few interactions, of any users."""
        self.deliver(lambda: self.append_batch(batch), crash)

    @rule(user=names, first=st.integers(0, 400), crash=crashes)
    def append_many(self, user, first, crash) -> None:
        """As many as make a history full in two requests; a step of 7 mixes their times."""
        batch = [(user, first + (7 * n) % 300) for n in range(300)]
        self.deliver(lambda: self.append_batch(batch), crash)

    @rule(user=names, number=st.integers(0, 699), size=st.integers(0, 4), crash=crashes)
    def put_whole(self, user, number, size, crash) -> None:
        """A history as a whole, of what some events tell, in whole seconds."""
        self.deliver(lambda: self.put_history(user, number, size), crash)

    @rule(user=names, number=events, drawn=answers, crash=crashes)
    def put_knowledge(self, user, number, drawn, crash) -> None:
        """Preferences that answer an event."""
        self.deliver(lambda: self.put_answer(user, number, drawn), crash)

    def append_batch(self, batch) -> None:
        """Store a batch; then the model knows."""
        outcomes = self.users.append([self.interaction(*one) for one in batch])
        assert [o.value for o in outcomes] == [self.model[name].append(self.entry(number)) for name, number in batch]

    def put_history(self, user: str, number: int, size: int) -> None:
        """Store a whole history."""
        entries = [self.entry(n) for n in range(number, number + size)]
        whole = [replace(e, event_id="", time_us=e.time_us // 1_000_000 * 1_000_000) for e in entries]
        history = History(
            [e.item_id for e in whole], [e.rating for e in whole], [e.time_us // 1_000_000 for e in whole]
        )
        time_us, event_id = self.entry(number).time_us, f"w{number:03}"
        stamp = Stamp(event_id, NOON + timedelta(microseconds=time_us - NOON_US))
        outcome = self.users.put_history(self.id_of(user), stamp, history)
        assert outcome.value == self.model[user].put_whole((time_us, event_id), whole)

    def put_answer(self, user: str, number: int, drawn) -> None:
        """Store preferences."""
        answer = answered((number // 3, f"e{number:02}"), drawn)
        stamp = Stamp(answer.event[1], NOON + timedelta(minutes=answer.event[0]))
        outcome = self.users.put_knowledge(self.id_of(user), stamp, as_vectors(answer))
        assert outcome.value == self.model[user].put_knowledge(answer)

    def entry(self, number: int) -> Entry:
        """An event is the same whenever it comes: up to seven share a second, and two a moment."""
        time_us = NOON_US + number // 7 * 1_000_000 + number % 7 // 2 * 1_000
        return Entry(time_us, f"i{number:03}", f"m{number % 3}", float(number % 5))

    def interaction(self, name: str, number: int) -> Interaction:
        """What a client sends of an event."""
        entry = self.entry(number)
        stamp = Stamp(entry.event_id, NOON + timedelta(microseconds=entry.time_us - NOON_US))
        return Interaction(stamp, self.id_of(name), entry.item_id, "movies", entry.rating)

    def check(self) -> None:
        """Packed values, and descriptions."""
        for name, model in self.model.items():
            stored = self.users.get(self.id_of(name)).user
            columns = list(zip(stored.times, stored.item_ids, stored.ratings, strict=True))
            assert columns == [(e.time_us // 1_000_000, e.item_id, e.rating) for e in model.entries]
            assert values(stored.augmented) == model.known.augmented
            if not model.whole:
                assert model.entries == sorted(model.events)[-512:]
            self.check_description(name, model)

    def check_description(self, name: str, model: ModelUser) -> None:
        """What the user's preferences would be made of."""
        if model.newest is None and model.known.answer is None:
            with pytest.raises(NotFound):
                self.descriptions.user(self.id_of(name), 0)
            return
        described = self.descriptions.user(self.id_of(name), 0)
        newest = described.history_event
        assert (newest.event_id if newest else None) == (model.newest[1] if model.newest else None)
        assert as_known(described) == expected_known(model.known)


@pytest.mark.parametrize("machine", [ItemsMachine, UsersMachine])
def test_what_is_stored_is_what_the_events_say(parts: Parts, machine: type[FeaturesMachine]) -> None:
    """Whatever the order, the repetitions and the crashes."""
    run_state_machine_as_test(lambda: machine(parts), settings=SHORT)
