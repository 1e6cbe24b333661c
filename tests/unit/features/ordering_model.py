"""What the ordering rules promise, written as plain lists and loops: the model that the features service is held to."""

from __future__ import annotations

from dataclasses import dataclass, field

Key = tuple[int, str]  # (minute or microsecond of the event, its id)
FULL = 512


@dataclass(frozen=True)
class Answer:
    """A text about one event, with the vectors that came with it. `version` is empty before any promotion."""

    event: Key
    written: int
    text: str
    encoder: str
    version: str

    @property
    def value(self) -> float:
        """What all numbers of its vectors are."""
        return len(self.encoder) + self.written / 8 + (16 * int(self.version) if self.version else 0)


@dataclass
class Known:
    """The stored answer, and the values of the augmented vectors by version."""

    answer: Answer | None = None
    augmented: dict[str, float] = field(default_factory=dict)

    def put(self, new: Answer) -> str:
        """An answer to the event that is answered already, or to one that may be answered."""
        old = self.answer
        if old is None or old.event != new.event:
            return self._replace(new)
        if (new.written, new.text) != (old.written, old.text):
            return self._replace(new) if (new.written, new.text) > (old.written, old.text) else "STALE"
        if new.encoder != old.encoder:
            return self._replace(new)
        if not new.version or new.version in self.augmented:
            return "DUPLICATE"
        self.adapt(new.version, new.value)
        return "APPLIED"

    def adapt(self, version: str, value: float) -> None:
        """One version's vector more, the newest last; two are kept."""
        self.augmented.pop(version, None)
        self.augmented[version] = value
        while len(self.augmented) > 2:
            del self.augmented[next(iter(self.augmented))]

    def _replace(self, new: Answer) -> str:
        self.answer = new
        self.augmented = {new.version: new.value} if new.version else {}
        return "APPLIED"


@dataclass
class ModelItem:
    """One item: the event that counts, its title (None: deleted), and its knowledge."""

    event: Key | None = None
    title: str | None = None
    known: Known = field(default_factory=Known)

    def put(self, event: Key, title: str | None) -> str:
        """The item came, changed, or went (no title)."""
        if self.event and event <= self.event:
            return "DUPLICATE" if event == self.event else "STALE"
        if title is None or title != self.title:
            self.known = Known()
        self.event, self.title = event, title
        return "APPLIED"

    def put_knowledge(self, new: Answer) -> str:
        """Knowledge of the content that an event brought."""
        if self.event is None or new.event > self.event:
            return "MISSING_CONTENT"
        answered = self.known.answer.event if self.known.answer else None
        if self.title is None or new.event not in {self.event, answered}:
            return "STALE"
        return self.known.put(new)

    def adapt(self, version: str, value: float) -> int:
        """A promotion's vector; nothing without knowledge."""
        if self.known.answer is None:
            return 0
        self.known.adapt(version, value)
        return 1


@dataclass(frozen=True, order=True)
class Entry:
    """One interaction; `event_id` is empty where a whole history brought it. Sorted as histories are."""

    time_us: int
    event_id: str
    item_id: str = field(compare=False)
    rating: float = field(compare=False)


@dataclass
class ModelUser:
    """One user: entries in order, the newest event, and knowledge."""

    entries: list[Entry] = field(default_factory=list)
    newest: Key | None = None
    known: Known = field(default_factory=Known)
    events: set[Entry] = field(default_factory=set)  # all that ever came
    whole: bool = False  # whether a whole history ever came

    def append(self, new: Entry) -> str:
        """One interaction more."""
        self.events.add(new)
        if any(entry.event_id == new.event_id for entry in self.entries):
            return "DUPLICATE"
        if len(self.entries) == FULL and new < self.entries[0]:
            return "STALE"
        same = [e for e in self.entries if not e.event_id and e.item_id == new.item_id]
        told = [e for e in same if e.time_us == new.time_us // 1_000_000 * 1_000_000]
        others = [e for e in self.entries if not told or e is not told[0]]
        self.entries = sorted([*others, new])[-FULL:]
        self.newest = max(self.newest or (new.time_us, new.event_id), (new.time_us, new.event_id))
        return "APPLIED"

    def put_whole(self, event: Key, entries: list[Entry]) -> str:
        """A history as a whole."""
        if self.newest and event <= self.newest:
            return "DUPLICATE" if event[1] == self.newest[1] else "STALE"
        self.entries, self.newest, self.whole = sorted(entries), event, True
        return "APPLIED"

    def put_knowledge(self, new: Answer) -> str:
        """Preferences."""
        answered = self.known.answer.event if self.known.answer else None
        if answered and new.event < answered:
            return "STALE"
        return self.known.put(new)
