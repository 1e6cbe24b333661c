"""Checks requests against the limits that loreline.knowledge.v1 sets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from loreline.client.messages import Record
from loreline.domain import (
    Cluster,
    HistoryEntry,
    Item,
    Knowledge,
    UserHistory,
    Violation,
    check_attributes,
    check_id,
    check_item,
)
from services.knowledge.prompts import CLUSTER_KINDS, cluster_template
from services.knowledge.text_checks import MAX_CHARACTERS
from services.runtime.errors import InvalidRequest
from services.scenarios import Scenario, UnknownScenario, load_scenario

MAX_SUBJECTS = 256
MAX_HISTORY_ENTRIES = 512
MAX_SUSPECTS = 1000
SHOWN_VIOLATIONS = 20
RECORD_SUBJECTS = ("item", "user")
_KEY = re.compile(r"[0-9a-f]{64}")
_EPOCH = datetime.fromtimestamp(0, UTC)


def check_item_request(scenario: str, items: Sequence[Item]) -> Scenario:
    """The request's scenario. Raises InvalidRequest with the paths of what is wrong."""
    found = _known_scenario(scenario)
    _raise_if_any(_count("items", len(items)))
    _raise_if_any(_item_violations(scenario, items))
    return found


def check_user_request(scenario: str, users: Sequence[UserHistory]) -> Scenario:
    """The request's scenario. Raises InvalidRequest with the paths of what is wrong."""
    found = _known_scenario(scenario)
    _raise_if_any(_count("users", len(users)))
    _raise_if_any(_user_violations(found, users))
    return found


def check_cluster_request(scenario: str, clusters: Sequence[Cluster]) -> Scenario:
    """The request's scenario. Raises InvalidRequest with the paths of what is wrong."""
    found = _known_scenario(scenario)
    _raise_if_any(_count("clusters", len(clusters)))
    _raise_if_any(_cluster_violations(found, clusters))
    return found


def check_records(records: Sequence[Record]) -> None:
    """Raises InvalidRequest with the paths of what is wrong in answers that are brought back."""
    _raise_if_any(_count("records", len(records)))
    _raise_if_any(found for index, record in enumerate(records) for found in _record_violations(record, index))


def check_suspects_request(scenario: str, most: int) -> None:
    """Raises InvalidRequest; an empty scenario stands for all."""
    if scenario:
        _known_scenario(scenario)
    if not 0 <= most <= MAX_SUSPECTS:
        raise InvalidRequest([("most", f"must be 1 to {MAX_SUSPECTS}, or 0 for the default")])


def check_provider(name: str, names: Sequence[str]) -> None:
    """Raises InvalidRequest that lists the providers there are."""
    if name not in names:
        raise InvalidRequest([("provider", f"must be one of: {', '.join(names)}; or empty for the default")])


def check_subject_id(field: str, value: str) -> None:
    """Raises InvalidRequest when an id is out of its limits."""
    _raise_if_any(check_id(field, value))


def _known_scenario(name: str) -> Scenario:
    try:
        return load_scenario(name)
    except UnknownScenario as error:
        raise InvalidRequest([("scenario", str(error))]) from error


def _count(field: str, count: int) -> Iterator[Violation]:
    if not 1 <= count <= MAX_SUBJECTS:
        yield field, f"must hold 1 to {MAX_SUBJECTS} entries, holds {count}"


def _item_violations(scenario: str, items: Sequence[Item]) -> Iterator[Violation]:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        yield from _in_scenario(scenario, item, f"items[{index}]")
        yield from _unique(seen, item.item_id, index, "items", "item_id")


def _user_violations(scenario: Scenario, users: Sequence[UserHistory]) -> Iterator[Violation]:
    seen: dict[str, int] = {}
    for index, user in enumerate(users):
        path = f"users[{index}]"
        yield from check_id(f"{path}.user_id", user.user_id)
        yield from _unique(seen, user.user_id, index, "users", "user_id")
        yield from check_attributes(user.attributes, f"{path}.attributes")
        yield from _entries_violations(scenario, user.entries, path)


def _cluster_violations(scenario: Scenario, clusters: Sequence[Cluster]) -> Iterator[Violation]:
    seen: dict[str, int] = {}
    for index, cluster in enumerate(clusters):
        path = f"clusters[{index}]"
        yield from check_id(f"{path}.cluster_id", cluster.cluster_id)
        yield from _unique(seen, cluster.cluster_id, index, "clusters", "cluster_id")
        if cluster.kind not in CLUSTER_KINDS:
            yield f"{path}.kind", "must be said: items or users"
        elif cluster_template(scenario, cluster.kind) is None:
            yield f"{path}.kind", f"must be a kind with a prompt: the scenario has no prompts.{cluster.kind}_cluster"
        yield from _entries_violations(scenario, cluster.entries, path)


def _entries_violations(scenario: Scenario, entries: Sequence[HistoryEntry], path: str) -> Iterator[Violation]:
    if not 1 <= len(entries) <= MAX_HISTORY_ENTRIES:
        yield f"{path}.entries", f"must hold 1 to {MAX_HISTORY_ENTRIES} entries, holds {len(entries)}"
        return
    for number, entry in enumerate(entries):
        yield from _entry_violations(scenario, entry, f"{path}.entries[{number}]")


def _entry_violations(scenario: Scenario, entry: HistoryEntry, path: str) -> Iterator[Violation]:
    yield from _in_scenario(scenario.name, entry.item, f"{path}.item")
    low, high = scenario.minimum_rating, scenario.maximum_rating
    if entry.rating is not None and not (math.isfinite(entry.rating) and low <= entry.rating <= high):
        yield f"{path}.rating", f"must be a number from {low:g} to {high:g}, or unset"


def _record_violations(record: Record, index: int) -> Iterator[Violation]:
    path = f"records[{index}]"
    if record.subject not in RECORD_SUBJECTS:
        yield f"{path}.subject", "must be said: item or user"
    yield from check_id(f"{path}.subject_id", record.subject_id)
    yield from _knowledge_violations(record.knowledge, f"{path}.knowledge")


def _knowledge_violations(knowledge: Knowledge, path: str) -> Iterator[Violation]:
    source = knowledge.provenance
    if not 1 <= len(knowledge.text.strip()) <= len(knowledge.text) <= MAX_CHARACTERS:
        yield f"{path}.text", f"must have 1 to {MAX_CHARACTERS} characters and not be blank"
    if not _KEY.fullmatch(source.key):
        yield f"{path}.provenance.key", "must be a SHA-256: 64 hexadecimal digits in small letters"
    for name in ("provider", "model", "scenario"):
        if not getattr(source, name):
            yield f"{path}.provenance.{name}", "must be set"
    if source.created_time <= _EPOCH:
        yield f"{path}.provenance.created_time", "must be set"


def _in_scenario(scenario: str, item: Item, path: str) -> Iterator[Violation]:
    yield from check_item(item, path)
    if item.scenario and item.scenario != scenario:
        yield f"{path}.scenario", f"must equal the request's scenario, {scenario!r}"


def _unique(seen: dict[str, int], subject_id: str, index: int, field: str, name: str) -> Iterator[Violation]:
    first = seen.setdefault(subject_id, index)
    if first != index:
        yield f"{field}[{index}].{name}", f"must be unique, is also that of {field}[{first}]"


def _raise_if_any(violations: Iterable[Violation]) -> None:
    found = list(islice(violations, SHOWN_VIOLATIONS))
    if found:
        raise InvalidRequest(found)
