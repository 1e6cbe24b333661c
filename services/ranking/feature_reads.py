"""The port to what is stored of users and items, and its public way: through the features service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from loreline.client import FeaturesClient
from loreline.client.errors import ServiceUnavailableError
from loreline.domain import PackedItem, PackedUser
from services.runtime.errors import DependencyUnavailable


class FeatureReads(Protocol):
    """Reads packed features. Safe to share between threads."""

    def user(self, user_id: str) -> PackedUser:
        """One user, empty when nothing is stored. Raises DependencyUnavailable."""

    def items(self, item_ids: Sequence[str]) -> list[PackedItem]:
        """Those of 1 to 10,000 items that are stored, in any order. Raises DependencyUnavailable."""


class PublicReads:
    """Reads through the features service, one call each."""

    def __init__(self, features: FeaturesClient) -> None:
        self._features = features

    def user(self, user_id: str) -> PackedUser:
        """See FeatureReads."""
        with features_errors():
            return self._features.user(user_id).user

    def items(self, item_ids: Sequence[str]) -> list[PackedItem]:
        """See FeatureReads."""
        with features_errors():
            return self._features.items(item_ids).items


@contextmanager
def features_errors() -> Iterator[None]:
    """Turn what the features client raises when it gets no answer into DependencyUnavailable."""
    try:
        yield
    except ServiceUnavailableError as error:
        raise DependencyUnavailable("features", str(error)) from error
