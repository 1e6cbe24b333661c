"""Asks another service within the time that a request's caller gave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from loreline.client.blocking import Client
from loreline.client.errors import DeadlineExceededError, ServiceUnavailableError
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable

AnyClient = TypeVar("AnyClient", bound=Client)


@contextmanager
def asking(client: AnyClient, name: str, seconds_left: float | None) -> Iterator[AnyClient]:
    """The client of a service, with the caller's time as its deadline where that is nearer than its own.

    `seconds_left` None is no limit. What the client raises inside becomes DeadlineExceeded when the caller's time was
    not enough, and DependencyUnavailable of the service `name` when it did not answer otherwise.
    """
    is_callers = seconds_left is not None and seconds_left < client.timeout_seconds
    try:
        yield client.with_timeout(max(seconds_left, 0.0)) if seconds_left is not None and is_callers else client
    except ServiceUnavailableError as error:
        if is_callers and isinstance(error, DeadlineExceededError):
            raise DeadlineExceeded(f"no time was left while {name} was asked") from error
        raise DependencyUnavailable(name, str(error)) from error
