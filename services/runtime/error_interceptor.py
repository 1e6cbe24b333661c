"""The one place where errors become gRPC statuses with google.rpc details."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.runtime.errors import InvalidRequest, Overloaded, PlatformError

DOMAIN = "loreline"
Handler = Any  # grpc's own stubs and its runtime disagree on the type's parameters
log = structlog.get_logger(__name__)


class ErrorInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Ends a call whose handler raised with the error's status; an unexpected error becomes INTERNAL with an id."""

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: Any
    ) -> Handler | None:
        """Wrap the method's handler; returns None for a method that does not exist."""
        handler = continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        coders = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_stream is not None:
            guarded = _guard_stream(handler.unary_stream, details.method)
            return grpc.unary_stream_rpc_method_handler(guarded, **coders)
        guarded = _guard_unary(handler.unary_unary, details.method)
        return grpc.unary_unary_rpc_method_handler(guarded, **coders)


def _guard_unary(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(request, context)
        except Exception as error:
            _end_call(error, method, context)

    return call


def _guard_stream(behaviour: Callable[..., Iterator[Any]], method: str) -> Callable[..., Iterator[Any]]:
    def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behaviour(request, context)
        except Exception as error:
            _end_call(error, method, context)

    return call


def _end_call(error: Exception, method: str, context: Any) -> NoReturn:
    if context.code() is not None:
        raise error
    if not context.is_active():
        context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")  # nobody reads it, and nothing is logged
    context.abort_with_status(rpc_status.to_status(to_status(error, method)))
    raise AssertionError("abort_with_status always raises")


def to_status(error: Exception, method: str) -> status_pb2.Status:
    """The google.rpc.Status of an error: code, message, ErrorInfo, and BadRequest or RetryInfo where they apply."""
    if not isinstance(error, PlatformError):
        identifier = uuid.uuid4().hex
        log.error("unexpected error", method=method, error_id=identifier, exc_info=error)
        error = PlatformError(f"unexpected error {identifier}: the log of this process has it")
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"method": method})]
    return status_pb2.Status(
        code=code_pb2.Code.Value(error.status),
        message=str(error),
        details=[_pack(detail) for detail in [*details, *_further_details(error)]],
    )


def _further_details(error: PlatformError) -> Iterator[Any]:
    if isinstance(error, InvalidRequest):
        violation = error_details_pb2.BadRequest.FieldViolation
        yield error_details_pb2.BadRequest(
            field_violations=[violation(field=field, description=expected) for field, expected in error.violations]
        )
    if isinstance(error, Overloaded):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


def _pack(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
