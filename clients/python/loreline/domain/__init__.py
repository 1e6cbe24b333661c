"""What the platform speaks of: items, users, knowledge, events and their order. Standard library and NumPy alone.

items.py      items, users' histories, groups of either; limits of the contracts, and their checks
knowledge.py  texts with where they came from, and their vectors
events.py     the stamp of an event, the one total order of a subject's events, interactions
packed.py     what a scorer needs of an item or user
canonical.py  one spelling for equal values
names.py      what to say of a mistyped name

Everything may import this package, and it imports nothing of Loreline. Clients take and give these types, so it is
installed with them.
"""

from loreline.domain.canonical import canonical_json
from loreline.domain.events import (
    FIRST_SECOND,
    LAST_SECOND,
    Interaction,
    Stamp,
    microseconds,
    moment_of,
    new_stamp,
)
from loreline.domain.items import (
    AttributeValue,
    Cluster,
    HistoryEntry,
    Item,
    UserHistory,
    Violation,
    check_attributes,
    check_id,
    check_item,
)
from loreline.domain.knowledge import Knowledge, KnowledgeVectors, Provenance
from loreline.domain.names import did_you_mean
from loreline.domain.packed import PackedItem, PackedUser

__all__ = [
    "FIRST_SECOND",
    "LAST_SECOND",
    "AttributeValue",
    "Cluster",
    "HistoryEntry",
    "Interaction",
    "Item",
    "Knowledge",
    "KnowledgeVectors",
    "PackedItem",
    "PackedUser",
    "Provenance",
    "Stamp",
    "UserHistory",
    "Violation",
    "canonical_json",
    "check_attributes",
    "check_id",
    "check_item",
    "did_you_mean",
    "microseconds",
    "moment_of",
    "new_stamp",
]
