"""Times that protobuf can hold and no calendar can."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from loreline.features.v1 import features_pb2
from services.features import requests
from services.runtime.errors import InvalidRequest

BEYOND = [253_402_300_800, -62_135_596_801, 2**63 - 1, -(2**63)]
NOW = features_pb2.EventStamp(event_id="e", event_time=Timestamp(seconds=1_772_000_000))


@pytest.mark.parametrize("seconds", BEYOND)
def test_the_time_of_an_event_and_of_an_answer_lie_in_the_calendar(seconds: int) -> None:
    """Each is named; knowledge that cannot be dated could never be put in order."""
    request = features_pb2.PutItemsRequest()
    written = request.writes.add(event=features_pb2.EventStamp(event_id="e", event_time=Timestamp(seconds=seconds)))
    written.knowledge.item_id, written.knowledge.encoder = "1", "encoder"
    written.knowledge.vector = np.ones(4, dtype="<f4").tobytes()
    written.knowledge.knowledge.text = "A comedy."
    written.knowledge.knowledge.provenance.created_time.seconds = seconds
    with pytest.raises(InvalidRequest) as refused:
        requests.item_writes(request)
    created = "writes[0].knowledge.knowledge.provenance.created_time"
    assert sorted(refused.value.violations) == [
        ("writes[0].event.event_time", "must lie in the years 1 to 9999"),
        (created, "must lie in the years 1 to 9999"),
    ]


@pytest.mark.parametrize("seconds", BEYOND)
def test_a_historys_times_lie_in_the_calendar(seconds: int) -> None:
    """Stored in microseconds, a later one would not fit the ledger."""
    times = sorted([seconds, 0])
    history = features_pb2.UserHistoryFeatures(item_ids=["1", "2"], ratings=[1, 1], times=times)
    with pytest.raises(InvalidRequest) as refused:
        requests.user_write(features_pb2.PutUserRequest(user_id="1", event=NOW, history=history))
    assert refused.value.violations == [("history.times", "must lie in the years 1 to 9999")]
