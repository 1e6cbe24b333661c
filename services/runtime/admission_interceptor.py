"""Makes the calls of a server take their turn in an Admission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import grpc

from services.runtime.admission import Admission

Handler = Any  # grpc's own stubs and its runtime disagree on the type's parameters
_waited: ContextVar[float] = ContextVar("seconds waited for a turn", default=0.0)


def waited_seconds() -> float:
    """How long the call that this thread handles has waited for its turn."""
    return _waited.get()


class AdmissionInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Admits the calls of one request and one answer of the services named; health and reflection always answer."""

    def __init__(self, admission: Admission, services: Sequence[str]) -> None:
        self._admission, self._prefixes = admission, tuple(f"/{name}/" for name in services)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: Any
    ) -> Handler | None:
        """Wrap the method's handler; returns None for a method that does not exist."""
        handler = continuation(details)
        if handler is None or handler.unary_unary is None or not details.method.startswith(self._prefixes):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._admitted(handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _admitted(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with self._admission.turn(context.time_remaining(), context.is_active) as waited:
                token = _waited.set(waited)
                try:
                    return behaviour(request, context)
                finally:
                    _waited.reset(token)

        return call
