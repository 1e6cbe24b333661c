"""Shares of the users: as large as asked, sticky, and independent of each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_registry import ModelRegistry, OtherCandidate, Share, Traffic, position
from tests.model_versions import register_version

USERS = [f"user-{number}" for number in range(20_000)]


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    registry = ModelRegistry(tmp_path / "registry")
    for _ in range(3):
        register_version(registry)
    registry.promote("1")
    return registry


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 1.0])
def test_a_share_holds_as_many_users_as_it_says(share: float) -> None:
    """Within four standard deviations of chance."""
    held = sum(Share(share=share, salt="s").holds(user) for user in USERS) / len(USERS)
    assert held == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(USERS)) + 1e-9)


@given(user=st.text(max_size=40), salt=st.text(st.characters(codec="ascii"), min_size=1, max_size=32))
def test_a_user_stays_where_it_was_put(user: str, salt: str) -> None:
    """A pure function, and a larger share holds all of the smaller."""
    assert position(user, salt) == position(user, salt)
    assert 0 <= position(user, salt) < 1
    if Share(share=0.2, salt=salt).holds(user):
        assert Share(share=0.4, salt=salt).holds(user)


def test_two_shares_are_independent() -> None:
    """Being in one says nothing about being in the other."""
    one, other = Share(share=0.5, salt="a"), Share(share=0.5, salt="b")
    in_one = np.array([one.holds(user) for user in USERS])
    in_other = np.array([other.holds(user) for user in USERS])
    assert abs(np.corrcoef(in_one, in_other)[0, 1]) < 4 / np.sqrt(len(USERS))


def test_a_canary_that_grows_keeps_its_users_and_a_new_one_draws_anew(registry: ModelRegistry) -> None:
    """The salt belongs to the canary of one version, not to the share."""
    small = registry.traffic().with_candidate("canary", "2", 0.05)
    assert small.canary is not None
    grown = small.with_candidate("canary", "2", 0.2)
    assert grown.canary is not None
    assert grown.canary.salt == small.canary.salt
    other = small.with_candidate("canary", "3", 0.05)
    assert other.canary is not None
    assert other.canary.salt != small.canary.salt


def test_only_one_version_runs_beside_the_active_one(registry: ModelRegistry) -> None:
    """Its vectors are the ones that are kept."""
    canary = registry.traffic().with_candidate("canary", "2", 0.05)
    assert canary.with_candidate("shadow", "2", 0.1).candidate == "2"
    with pytest.raises(OtherCandidate, match="version 2 runs beside the active one"):
        canary.with_candidate("shadow", "3", 0.1)
    with pytest.raises(OtherCandidate, match="version 1 is the active one"):
        canary.with_candidate("canary", "1", 0.1)


def test_what_is_directed_is_read_by_another_process(registry: ModelRegistry) -> None:
    """The pointer file holds all of it."""
    traffic = registry.traffic().with_candidate("canary", "2", 0.05).with_knowledge_off(0.1)
    registry.direct(traffic)
    assert ModelRegistry(registry.root).traffic() == traffic


def test_a_promotion_ends_what_runs_beside_and_keeps_the_experiment(registry: ModelRegistry) -> None:
    """The candidate's vectors may be gone after it; knowledge off needs none."""
    registry.direct(registry.traffic().with_candidate("canary", "2", 0.05).with_knowledge_off(0.1))
    registry.promote("3")
    after = registry.traffic()
    assert (after.active, after.previous, after.candidate) == ("3", "1", None)
    assert after.knowledge_off is not None
    assert after.with_knowledge_off(0).knowledge_off is None


def test_a_pointer_of_an_earlier_release_is_read(registry: ModelRegistry) -> None:
    """It names the active and the previous version alone."""
    (registry.root / "active.json").write_text('{"active": "2", "previous": "1"}')
    assert registry.traffic() == Traffic(active="2", previous="1")
