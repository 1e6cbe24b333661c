"""What clients raise instead of grpc.RpcError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class ClientError(Exception):
    """A call failed. `code` is the gRPC status name, `violations` the (field, what was expected) pairs, if any."""

    def __init__(self, code: str, message: str, violations: list[tuple[str, str]]) -> None:
        self.code, self.message, self.violations = code, message, violations
        super().__init__(f"{code}: {message}")


class InvalidArgumentError(ClientError):
    """The request must be changed; `violations` says where."""


class NotFoundError(ClientError):
    """What was named does not exist."""


class FailedPreconditionError(ClientError):
    """The platform must be brought into another state first; the message says how."""


class ServiceUnavailableError(ClientError):
    """The service did not answer in time, is overloaded or lacks a dependency; a retry may succeed."""


_CLASSES: dict[str, type[ClientError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "NOT_FOUND": NotFoundError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "UNAVAILABLE": ServiceUnavailableError,
    "DEADLINE_EXCEEDED": ServiceUnavailableError,
    "RESOURCE_EXHAUSTED": ServiceUnavailableError,
}


@contextmanager
def client_errors() -> Iterator[None]:
    """Turn a grpc.RpcError raised inside into the ClientError of its status."""
    try:
        yield
    except grpc.RpcError as error:
        code = error.code().name
        raise _CLASSES.get(code, ClientError)(code, error.details() or "", _violations(error)) from error


def _violations(error: grpc.RpcError) -> list[tuple[str, str]]:
    try:
        status = rpc_status.from_call(error)
    except (AttributeError, ValueError):
        return []
    request = error_details_pb2.BadRequest()
    found = [detail for detail in (status.details if status else []) if detail.Unpack(request)]
    return [(violation.field, violation.description) for violation in request.field_violations] if found else []
