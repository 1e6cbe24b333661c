"""The errors of the platform, each with the gRPC status that the one error interceptor gives it.

PlatformError               INTERNAL              a fault of ours
├── InvalidRequest          INVALID_ARGUMENT      the caller must change the request; violations name the fields
├── NotFound                NOT_FOUND             what was named does not exist
├── FailedPrecondition      FAILED_PRECONDITION   the platform must be brought into another state first
├── Overloaded              RESOURCE_EXHAUSTED    too much work waits; the caller may retry later
├── DependencyUnavailable   UNAVAILABLE           something that we need does not answer; the caller may retry
├── DeadlineExceeded        DEADLINE_EXCEEDED     the time that the caller gave was not enough
└── CallerGone              CANCELLED             nobody waits for the answer any more
"""

from __future__ import annotations

from collections.abc import Iterable


class PlatformError(Exception):
    """A fault of ours. `reason` is the UPPER_SNAKE_CASE word that google.rpc.ErrorInfo carries."""

    status = "INTERNAL"
    reason = "INTERNAL"


class InvalidRequest(PlatformError):
    """The request breaks the limits written in its contract.

    `violations` holds (field, what was expected) pairs, at least one.
    """

    status = "INVALID_ARGUMENT"
    reason = "INVALID_REQUEST"

    def __init__(self, violations: Iterable[tuple[str, str]]) -> None:
        self.violations = list(violations)
        super().__init__("; ".join(f"{field}: {expected}" for field, expected in self.violations))


class NotFound(PlatformError):
    """`kind` names what was looked for, `name` which one."""

    status = "NOT_FOUND"
    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind} {name!r} does not exist")


class FailedPrecondition(PlatformError):
    """The message says what must be done first."""

    status = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class Overloaded(PlatformError):
    """Too much work waits; `retry_after_seconds` is when a retry is welcome."""

    status = "RESOURCE_EXHAUSTED"
    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class DependencyUnavailable(PlatformError):
    """`dependency` does not answer; `detail` is what it said."""

    status = "UNAVAILABLE"
    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, dependency: str, detail: str) -> None:
        self.dependency, self.detail = dependency, detail
        super().__init__(f"{dependency} does not answer: {detail}")


class DeadlineExceeded(PlatformError):
    """The time that the caller gave was not enough."""

    status = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class CallerGone(PlatformError):
    """Nobody waits for the answer any more: the caller cancelled, or its connection ended."""

    status = "CANCELLED"
    reason = "CALLER_GONE"
