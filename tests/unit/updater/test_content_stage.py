"""The stage that makes items rankable, over a real features service."""

from __future__ import annotations

from loreline.client import FeaturesClient
from loreline.domain import Item
from services.updater.events import Delete, Upsert
from services.updater.metrics import UpdaterMetrics
from services.updater.stages import ContentStage
from tests.unit.updater.stage_parts import stamp


def upsert(item_id: str, **attributes: str) -> Upsert:
    return Upsert(stamp(f"event-{item_id}"), Item(item_id, "movies", "Film", dict(attributes)))


def test_a_batch_larger_than_a_message_is_stored_in_parts(features: FeaturesClient, unique_name: str) -> None:
    """200 items of 96 KB, each of them within the limits, are 19 MB."""
    plots = {f"plot-{n}": "x" * 8000 for n in range(12)}
    events = [upsert(f"{unique_name}-{n}", **plots) for n in range(200)]
    assert ContentStage(features, UpdaterMetrics()).handle(events) == {}
    batch = features.items([event.subject_id for event in events])
    assert (len(batch.items), batch.missing_item_ids) == (200, [])


def test_items_that_features_refuses_are_poison_and_harm_no_other(features: FeaturesClient, unique_name: str) -> None:
    """Wherever they stand in the batch; a removal beside them happens too."""
    events = [upsert(f"{unique_name}-{n}", **({"": "nameless"} if n in {0, 5, 6} else {})) for n in range(9)]
    removal = Delete(stamp("removal", 5), f"{unique_name}-8", "movies")
    poisons = ContentStage(features, UpdaterMetrics()).handle([*events, removal])
    assert (sorted(poisons), {poison.reason for poison in poisons.values()}) == ([0, 5, 6], {"INVALID"})
    stored = features.items([event.subject_id for event in events])
    assert [item.item_id for item in stored.items if not item.deleted] == [
        f"{unique_name}-{n}" for n in (1, 2, 3, 4, 7)
    ]
