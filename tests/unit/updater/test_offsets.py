"""Committing when records are finished in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition

from services.updater.offsets import Offsets

ONE, TWO = TopicPartition("items", 1), TopicPartition("items", 2)


@given(st.permutations(range(8)), st.integers(0, 8))
def test_the_committable_offset_follows_the_longest_finished_beginning(order: list[int], count: int) -> None:
    """Whatever the order in which records are finished."""
    offsets = Offsets()
    for offset in range(100, 108):
        offsets.start(ONE, offset)
    for place in order[:count]:
        offsets.finish(ONE, 100 + place)
    finished = set(order[:count])
    beginning = next((place for place in range(9) if place not in finished), 8)
    assert offsets.take_committable() == ({ONE: 100 + beginning} if beginning else {})
    assert len(offsets) == 8 - beginning


def test_partitions_are_committed_by_themselves() -> None:
    """An unfinished record holds up its own partition alone."""
    offsets = Offsets()
    for partition, offset in ((ONE, 5), (TWO, 9), (ONE, 6)):
        offsets.start(partition, offset)
    offsets.finish(TWO, 9)
    offsets.finish(ONE, 6)
    assert offsets.take_committable() == {TWO: 10}
    offsets.finish(ONE, 5)
    assert offsets.take_committable() == {ONE: 7}
    assert offsets.take_committable() == {}


def test_what_could_not_be_committed_is_committed_later() -> None:
    """At the newest offset; not for a partition that went."""
    offsets = Offsets()
    for partition in (ONE, TWO):
        for offset in (5, 6):
            offsets.start(partition, offset)
        offsets.finish(partition, 5)
    refused = offsets.take_committable()
    offsets.finish(ONE, 6)
    offsets.forget([TWO])
    offsets.put_back(refused)
    assert offsets.take_committable() == {ONE: 7}


def test_what_went_to_another_member_is_not_committed() -> None:
    """Not even when its handling ends later."""
    offsets = Offsets()
    offsets.start(ONE, 5)
    offsets.start(TWO, 7)
    offsets.finish(TWO, 7)
    offsets.forget([ONE, TWO])
    offsets.finish(ONE, 5)
    assert (offsets.take_committable(), len(offsets)) == ({}, 0)
