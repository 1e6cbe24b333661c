"""The one place where errors become gRPC statuses with google.rpc details."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.runtime.errors import CallerGone, DeadlineExceeded, InvalidRequest, Overloaded, PlatformError

DOMAIN = "loreline"
MOST_VIOLATIONS = 20
MOST_DETAIL_BYTES, MOST_MESSAGE_BYTES = 1600, 300  # base64 and percent encoding make more of them: 4 KB in all
Handler = Any  # grpc's own stubs and its runtime disagree on the type's parameters
log = structlog.get_logger(__name__)


class ErrorInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Ends a call whose handler raised with the error's status; an unexpected error becomes INTERNAL with an id.

    A call whose caller has gone, or has no time left, when its turn comes is not begun.
    """

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: Any
    ) -> Handler | None:
        """Wrap the method's handler; returns None for a method that does not exist."""
        handler = continuation(details)
        if handler is None or getattr(handler.unary_stream, "experimental_non_blocking", False):
            return handler  # it answers through a callback, not by what it returns: gRPC's own health service
        coders = {"request_deserializer": None, "response_serializer": handler.response_serializer}
        read = _Reader(handler.request_deserializer, details.method)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(_with_decoded(handler.stream_stream, read), **coders)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(_guard_stream(handler.unary_stream, read), **coders)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_guard_unary(handler.unary_unary, read), **coders)
        return handler


@dataclass(frozen=True)
class _Reader:
    """Decodes a method's requests here, since gRPC itself ends a call with INTERNAL for bytes that are no message."""

    decode: Callable[[bytes], Any]
    method: str

    def __call__(self, data: bytes) -> Any:
        try:
            return self.decode(data)
        except Exception as error:
            raise InvalidRequest([("request", f"must be a message of this method: {error}")]) from error


def _with_decoded(behaviour: Callable[..., Any], read: _Reader) -> Callable[..., Any]:
    def decoded(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        for data in requests:
            try:
                request = read(data)
            except InvalidRequest as error:
                _end_call(error, read.method, context)
            yield request

    return lambda requests, context: behaviour(decoded(requests, context), context)


def _guard_unary(behaviour: Callable[..., Any], read: _Reader) -> Callable[..., Any]:
    def call(data: bytes, context: grpc.ServicerContext) -> Any:
        try:
            _check_awaited(context)
            return behaviour(read(data), context)
        except Exception as error:
            _end_call(error, read.method, context)

    return call


def _guard_stream(behaviour: Callable[..., Iterator[Any]], read: _Reader) -> Callable[..., Iterator[Any]]:
    def call(data: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            _check_awaited(context)
            yield from behaviour(read(data), context)
        except Exception as error:
            _end_call(error, read.method, context)

    return call


def _check_awaited(context: grpc.ServicerContext) -> None:
    left = context.time_remaining()
    if left is not None and left <= 0:
        raise DeadlineExceeded("no time was left when the call's turn came")
    if not context.is_active():
        raise CallerGone("the caller went while the call waited")


def _end_call(error: Exception, method: str, context: Any) -> NoReturn:
    if context.code() is not None:
        raise error
    if not context.is_active():
        context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")  # nobody reads it, and nothing is logged
    context.abort_with_status(rpc_status.to_status(to_status(error, method)))
    raise AssertionError("abort_with_status always raises")


def to_status(error: Exception, method: str) -> status_pb2.Status:
    """The google.rpc.Status of an error: code, message, ErrorInfo, and BadRequest or RetryInfo where they apply.

    However much is wrong with a request, the status fits into the 4 KB of metadata that every peer takes: the first
    MOST_VIOLATIONS of the violations are told, or as many as there is room for; ErrorInfo's `violations` counts all.
    """
    if not isinstance(error, PlatformError):
        identifier = uuid.uuid4().hex
        log.error("unexpected error", method=method, error_id=identifier, exc_info=error)
        error = PlatformError(f"unexpected error {identifier}: the log of this process has it")
    about = {"method": method}
    if isinstance(error, InvalidRequest):
        about["violations"] = str(len(error.violations))
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=about)]
    return status_pb2.Status(
        code=code_pb2.Code.Value(error.status),
        message=_cut(str(error), MOST_MESSAGE_BYTES),
        details=[_pack(detail) for detail in [*details, *_further_details(error)]],
    )


def _further_details(error: PlatformError) -> Iterator[Any]:
    if isinstance(error, InvalidRequest):
        yield _bad_request(error)
    if isinstance(error, Overloaded):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


def _bad_request(error: InvalidRequest) -> error_details_pb2.BadRequest:
    told = error_details_pb2.BadRequest()
    for field, expected in error.violations[:MOST_VIOLATIONS]:
        told.field_violations.add(field=_cut(field, 200), description=_cut(expected, 400))
        if told.ByteSize() > MOST_DETAIL_BYTES:
            del told.field_violations[-1]
            break
    return told


def _cut(text: str, most_bytes: int) -> str:
    """The text, shortened to so many bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    return data.decode() if len(data) <= most_bytes else data[: most_bytes - 4].decode("utf-8", "ignore") + " ..."


def _pack(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
