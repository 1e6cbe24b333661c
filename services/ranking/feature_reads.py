"""The port to what is stored of users and items, and its public way: through the features service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from loreline.client import FeaturesClient
from loreline.domain import PackedItem, PackedUser
from services.ranking.asking import asking


class FeatureReads(Protocol):
    """Reads packed features, within `seconds_left` where they are given. Safe to share between threads."""

    def user(self, user_id: str, seconds_left: float | None = None) -> PackedUser:
        """One user, empty when nothing is stored. Raises DependencyUnavailable, DeadlineExceeded."""

    def items(self, item_ids: Sequence[str], seconds_left: float | None = None) -> list[PackedItem]:
        """Those of 1 to 10,000 items that are stored, in any order. Raises DependencyUnavailable, DeadlineExceeded."""


class PublicReads:
    """Reads through the features service, one call each."""

    def __init__(self, features: FeaturesClient) -> None:
        self._features = features

    def user(self, user_id: str, seconds_left: float | None = None) -> PackedUser:
        """See FeatureReads."""
        with asking(self._features, "features", seconds_left) as features:
            return features.user(user_id).user

    def items(self, item_ids: Sequence[str], seconds_left: float | None = None) -> list[PackedItem]:
        """See FeatureReads."""
        with asking(self._features, "features", seconds_left) as features:
            return features.items(item_ids).items
