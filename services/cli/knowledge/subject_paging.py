"""Goes through all stored items or users, for as long as that takes, in requests that are short."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from loreline.client import FeaturesClient, ServiceUnavailableError, StoredSubject
from services.runtime.backoff import Backoff

PAGE = 500
ATTEMPTS, BACKOFF = 6, Backoff(0.5, 10.0)
Subject = Literal["item", "user"]


def pages(
    features: FeaturesClient, subject: Subject, after_id: str = "", scenario: str = ""
) -> Iterator[list[StoredSubject]]:
    """Yield up to 500 subjects at a time in the order of their ids, after one of them.

    Each page is a request of its own, so that a slow reader holds nothing in the service, and is tried again while the
    service is away for a moment. Raises ClientError.
    """
    while page := _page(features, subject, after_id, scenario):
        yield page
        after_id = page[-1].subject_id


@retry(
    retry=retry_if_exception_type(ServiceUnavailableError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=BACKOFF,
    reraise=True,
)
def _page(features: FeaturesClient, subject: Subject, after_id: str, scenario: str) -> list[StoredSubject]:
    return list(islice(features.subjects(subject, after_id, scenario), PAGE))
