"""What a method of a service is, apart from how it is waited for: one description serves both kinds of client."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from loreline.client.errors import client_error

Result = TypeVar("Result")


MOST_REQUEST_BYTES = 16 * 1024 * 1024  # what every service takes


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One unary call: the stub's method, its request, and what reads the response.

    `is_read` says that it changes nothing and is cheap enough to be sent twice.
    """

    method: str
    request: Message
    read: Callable[[Any], Result]
    is_read: bool = False


@dataclass(frozen=True)
class StreamCall(Generic[Result]):
    """A call answered by a stream. `endless`: it is as long as the data, so the client's deadline is not for it."""

    method: str
    request: Message
    read: Callable[[Any], Result]
    endless: bool = False


def check_size(request: Message) -> None:
    """Raises InvalidArgumentError for a request that no service would take, which gRPC would call an overload."""
    if (size := request.ByteSize()) > MOST_REQUEST_BYTES:
        rule = f"must have at most {MOST_REQUEST_BYTES:,} bytes, has {size:,}: send it in parts"
        raise client_error("INVALID_ARGUMENT", f"request: {rule}", [("request", rule)])


def method_signature(build: Callable[..., Any], answer: str = "{}") -> inspect.Signature:
    """What `help` shows of the method that `build` describes: with self, and `answer` filled with the result's type."""
    built = inspect.signature(build)
    result = str(built.return_annotation).partition("[")[2].removesuffix("]")
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    return built.replace(parameters=[own, *built.parameters.values()], return_annotation=answer.format(result))
