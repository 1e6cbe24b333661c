"""What clients raise instead of grpc.RpcError."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


class ClientError(Exception):
    """A call failed. `code` is the gRPC status name, `violations` the (field, what was expected) pairs, if any.

    `reason` is an UPPER_SNAKE_CASE word, `retry_after_seconds` when a retry is welcome; both where the service says so.
    """

    def __init__(
        self,
        code: str,
        message: str,
        violations: Sequence[tuple[str, str]] = (),
        reason: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        self.code, self.message, self.violations = code, message, list(violations)
        self.reason, self.retry_after_seconds = reason, retry_after_seconds
        super().__init__(f"{code}: {message}")


class InvalidArgumentError(ClientError):
    """The request must be changed; `violations` says where."""


class NotFoundError(ClientError):
    """What was named does not exist."""


class FailedPreconditionError(ClientError):
    """The platform must be brought into another state first; the message says how."""


class ServiceUnavailableError(ClientError):
    """The service did not answer in time, is overloaded or lacks a dependency; a retry may succeed."""


class OverloadedError(ServiceUnavailableError):
    """The service has too much to do; `retry_after_seconds` says when a retry is welcome."""


class DeadlineExceededError(ServiceUnavailableError):
    """The call's time was over; a write may have happened all the same."""


_CLASSES: dict[str, type[ClientError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "NOT_FOUND": NotFoundError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "UNAVAILABLE": ServiceUnavailableError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "CANCELLED": ServiceUnavailableError,  # dropped unread, or the client was closed: whoever cancels gets no RpcError
}


@contextmanager
def client_errors() -> Iterator[None]:
    """Turn a grpc.RpcError raised inside into the ClientError of its status."""
    try:
        yield
    except grpc.RpcError as error:
        raise _error_class(error.code().name)(error.code().name, error.details() or "", *_details(error)) from error


def client_error(code: str, message: str, violations: Sequence[tuple[str, str]] = ()) -> ClientError:
    """The ClientError of a gRPC status name."""
    return _error_class(code)(code, message, violations)


def _error_class(code: str) -> type[ClientError]:
    return _CLASSES.get(code, ClientError)


def _details(error: grpc.RpcError) -> tuple[list[tuple[str, str]], str, float | None]:
    """The violations, the reason, and the seconds to wait, of the google.rpc details that came with an error."""
    request, info, retry = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    has_retry = False
    for detail in _status_of(error).details:
        has_retry = detail.Unpack(retry) or has_retry
        detail.Unpack(request)
        detail.Unpack(info)
    violations = [(violation.field, violation.description) for violation in request.field_violations]
    return violations, info.reason, retry.retry_delay.ToTimedelta().total_seconds() if has_retry else None


def _status_of(error: grpc.RpcError) -> status_pb2.Status:
    try:
        return rpc_status.from_call(error) or status_pb2.Status()
    except (AttributeError, ValueError):
        return status_pb2.Status()
