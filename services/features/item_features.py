"""Items: packed reads, ordered writes, and what a promotion needs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import structlog

from loreline.client import unpack_item
from loreline.client.messages import knowledge_bytes, vector_bytes, vector_of
from loreline.domain import Item, KnowledgeVectors, Stamp, microseconds
from services.features import ordering
from services.features.ledger import Hold, Kind, Ledger
from services.features.online_store import OnlineStore
from services.features.ordering import ItemState, WriteOutcome
from services.runtime.errors import InvalidRequest

PAGE = 500
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ContentWrite:
    """The item as its event gave it."""

    kind: ClassVar[str] = "content"
    stamp: Stamp
    item: Item

    @property
    def item_id(self) -> str:
        """The item's id."""
        return self.item.item_id


@dataclass(frozen=True)
class KnowledgeWrite:
    """Knowledge made from the content that the same event stored."""

    kind: ClassVar[str] = "knowledge"
    stamp: Stamp
    item_id: str
    vectors: KnowledgeVectors


@dataclass(frozen=True)
class Removal:
    """The item went."""

    kind: ClassVar[str] = "removal"
    stamp: Stamp
    item_id: str


ItemWrite = ContentWrite | KnowledgeWrite | Removal


@dataclass(frozen=True)
class VectorPage:
    """Knowledge vectors (N, K) of N subjects, all of one encoder, and what names the knowledge that each is of."""

    subject_ids: list[str]
    encoder: str
    vectors: npt.NDArray[np.float32]
    etags: list[str]


class ItemFeatures:
    """Items over the online store and the ledger. Reads go on while a write is under way; writes take turns."""

    def __init__(self, store: OnlineStore, ledger: Ledger) -> None:
        self._store, self._ledger = store, ledger

    def get_packed(self, item_ids: Sequence[str]) -> tuple[list[bytes], list[str]]:
        """Packed features in the order asked, and the ids of items that are not stored or were deleted."""
        values = [value for value, _ in self._store.read_packed("item_packed", item_ids)]
        living = [value if value and not unpack_item(value).deleted else None for value in values]
        missing = [item_id for item_id, value in zip(item_ids, living, strict=True) if value is None]
        return [value for value in living if value is not None], missing

    def put(self, writes: Sequence[ItemWrite]) -> list[WriteOutcome]:
        """Apply writes in order; one outcome each.

        Raises InvalidRequest, and then nothing is stored; DependencyUnavailable, and then all may be sent again.
        """
        item_ids = list({write.item_id for write in writes})
        knowledge = [(place, write) for place, write in enumerate(writes) if isinstance(write, KnowledgeWrite)]
        with self._ledger.exclusive("item", item_ids) as hold:
            check_widths(self._ledger, [(f"writes[{place}].knowledge", write.vectors) for place, write in knowledge])
            states = self._ledger.items(item_ids)
            outcomes = [self._transition(states, write) for write in writes]
            applied = [
                write for write, outcome in zip(writes, outcomes, strict=True) if outcome is WriteOutcome.APPLIED
            ]
            self._store_all(applied, {write.item_id: states[write.item_id] for write in applied}, hold)
        return outcomes

    def vectors(self, lacking_version: str) -> Iterator[VectorPage]:
        """Pages of stored knowledge vectors, of all items or of those without a version's augmented vector."""
        yield from vector_pages(self._store, self._ledger, "item", lacking_version)

    def put_augmented(
        self,
        version: str,
        item_ids: Sequence[str],
        etags: Sequence[str],
        vectors: npt.NDArray[np.float32],
        serving: str = "",
        kept: Collection[str] = (),
    ) -> int:
        """Store (N, A) augmented vectors of one version, where the knowledge is still that which `etags` name."""
        with self._ledger.exclusive("item", item_ids) as hold:
            known = self._ledger.items(item_ids)
            states = [
                _with_version(state, version, vector, serving, kept)
                for item_id, etag, vector in zip(item_ids, etags, vectors, strict=True)
                if (state := known.get(item_id)) and state.knowledge and ordering.etag(state) == etag
            ]
            hold.check()
            self._store.write("item_packed", [_packed_row(state) for state in states])
            self._ledger.put_items(states, hold)
        return len(states)

    def _transition(self, states: dict[str, ItemState], write: ItemWrite) -> WriteOutcome:
        state = states.get(write.item_id)
        match write:
            case ContentWrite():
                outcome, after = ordering.with_content(state, write.stamp, write.item)
            case KnowledgeWrite():
                outcome, after = ordering.with_knowledge(state, write.stamp, write.vectors)
            case Removal():
                outcome, after = ordering.with_removal(state, write.stamp, write.item_id)
        if after is not None:
            states[write.item_id] = after
        return outcome

    def _store_all(self, applied: Sequence[ItemWrite], states: dict[str, ItemState], hold: Hold) -> None:
        hold.check()
        contents = {write.item_id: write for write in applied if isinstance(write, ContentWrite)}
        knowledge = {write.item_id: write for write in applied if isinstance(write, KnowledgeWrite)}
        now = microseconds(datetime.now(UTC))
        self._store.write("item_profile", [_profile_row(write, now) for write in contents.values()])
        self._store.write("item_knowledge", [_vector_row(write) for write in knowledge.values()])
        self._store.write("item_provenance", [_provenance_row(write, now) for write in knowledge.values()])
        self._store.write("item_packed", [_packed_row(state) for state in states.values()])
        self._ledger.put_items(states.values(), hold)


def check_widths(ledger: Ledger, known: Sequence[tuple[str, KnowledgeVectors]]) -> None:
    """Refuse vectors of another width than their encoder's others have; the first of an encoder says which it is.

    `known` holds the path of each knowledge in its request. Raises InvalidRequest.
    """
    widths, wrong = dict[str, int](), []
    for path, vectors in known:
        width = widths.setdefault(vectors.encoder, ledger.width(vectors.encoder) or len(vectors.vector))
        if len(vectors.vector) != width:
            rule = f"must have {width} numbers, as those of encoder {vectors.encoder!r} have, got {len(vectors.vector)}"
            wrong.append((f"{path}.vector", rule))
    if wrong:
        raise InvalidRequest(wrong)
    for encoder, width in widths.items():
        ledger.keep_width(encoder, width)


def vector_pages(store: OnlineStore, ledger: Ledger, kind: Kind, lacking_version: str) -> Iterator[VectorPage]:
    """Pages of stored knowledge vectors, of all subjects or of those without a version's augmented vector.

    A page never mixes encoders. The ledger is read before the store: a vector that is newer than what its etag names is
    adapted for nothing, and one that is older never stored.
    """
    subject_ids = ledger.subjects_with_knowledge(kind, lacking_version)
    for start in range(0, len(subject_ids), PAGE):
        etags = ledger.etags(kind, subject_ids[start : start + PAGE])
        rows = zip(etags, store.read(f"{kind}_knowledge", list(etags)), strict=True)
        stored = [(subject, row["encoder"], vector_of(row["vector"])) for subject, row in rows if row["vector"]]
        for encoder in sorted({encoder for _, encoder, _ in stored}):
            of_encoder = [(subject, vector) for subject, of, vector in stored if of == encoder]
            fitting = _of_one_width(kind, encoder, ledger.width(encoder), of_encoder)
            if fitting:
                ids = [subject for subject, _ in fitting]
                vectors = np.stack([vector for _, vector in fitting])
                yield VectorPage(ids, encoder, vectors, [etags[subject] for subject in ids])


def _of_one_width(
    kind: Kind, encoder: str, width: int, vectors: Sequence[tuple[str, npt.NDArray[np.float32]]]
) -> Sequence[tuple[str, npt.NDArray[np.float32]]]:
    """The vectors of an encoder's width, or where that is not known of the width that most have; others are logged."""
    (most, _), *others = Counter(len(vector) for _, vector in vectors).most_common()
    if not others and width in (0, most):
        return vectors
    expected = width or most
    misfits = [subject for subject, vector in vectors if len(vector) != expected]
    log.warning("knowledge vectors of a wrong width are passed over", kind=kind, encoder=encoder, subjects=misfits)
    return [(subject, vector) for subject, vector in vectors if len(vector) == expected]


def _with_version(
    state: ItemState, version: str, vector: npt.NDArray[np.float32], serving: str, kept: Collection[str]
) -> ItemState:
    augmented = ordering.with_version(state.packed.augmented, version, vector, serving, kept)
    return replace(state, packed=replace(state.packed, augmented=augmented))


def _packed_row(state: ItemState) -> dict[str, Any]:
    return {"item_id": state.packed.item_id, "packed": state.value}


def _profile_row(write: ContentWrite, now_us: int) -> dict[str, Any]:
    return {
        "item_id": write.item_id,
        "scenario": write.item.scenario,
        "title": write.item.title,
        "attributes_json": json.dumps(dict(write.item.attributes), ensure_ascii=False),
        "event_id": write.stamp.event_id,
        "stored_time_us": now_us,
    }


def _vector_row(write: KnowledgeWrite) -> dict[str, Any]:
    return {
        "item_id": write.item_id,
        "encoder": write.vectors.encoder,
        "vector": vector_bytes(write.vectors.vector),
    }


def _provenance_row(write: KnowledgeWrite, now_us: int) -> dict[str, Any]:
    return {
        "item_id": write.item_id,
        "knowledge": knowledge_bytes(write.vectors.knowledge),
        "event_id": write.stamp.event_id,
        "stored_time_us": now_us,
    }
