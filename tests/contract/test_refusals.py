"""Every method of every contract refuses what it says it refuses: the status, and details that name the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from loreline.client import ClientError, RankingClient, RankRequest
from loreline.embedding.v1 import embedding_pb2
from loreline.features.v1 import features_pb2
from loreline.knowledge.v1 import knowledge_pb2
from loreline.ranking.v1 import ranking_pb2
from tests.contract.refusals import REFUSALS, Refusal

CONTRACTS: dict[str, ServiceDescriptor] = {
    "ranking": ranking_pb2.DESCRIPTOR.services_by_name["RankingService"],
    "features": features_pb2.DESCRIPTOR.services_by_name["FeaturesService"],
    "embedding": embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"],
    "knowledge": knowledge_pb2.DESCRIPTOR.services_by_name["KnowledgeService"],
}
TAKES_ANYTHING = {("features", "Watch")}  # any sequence number is one
ON_A_STREAM = {("ranking", "RankStream")}  # refuses the one request and goes on: a test of its own
CASES = [
    pytest.param(service, refusal, id=f"{service}-{refusal.method}-{'-'.join(refusal.fields) or refusal.status}")
    for service, refusals in REFUSALS.items()
    for refusal in refusals
]


@pytest.fixture(scope="module")
def channels(addresses: Mapping[str, str]) -> Iterator[Mapping[str, grpc.Channel]]:
    """A channel to each service, without the clients' retries."""
    opened = {name: grpc.insecure_channel(address) for name, address in addresses.items()}
    yield opened
    for channel in opened.values():
        channel.close()


def send(channel: grpc.Channel, method: MethodDescriptor, request: dict[str, Any]) -> None:
    """Make the call with a request in protobuf's JSON, and read its answers."""
    message = json_format.ParseDict(request, message_factory.GetMessageClass(method.input_type)())
    reader = message_factory.GetMessageClass(method.output_type).FromString
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = kind(path, request_serializer=type(message).SerializeToString, response_deserializer=reader)(
        message, timeout=20
    )
    if method.server_streaming:
        list(answer)


def detail(error: grpc.RpcError, kind: Any) -> Any:
    """The google.rpc detail of that kind, empty where there is none."""
    found = kind()
    for packed in rpc_status.from_call(error).details:
        packed.Unpack(found)
    return found


@pytest.mark.parametrize(("service", "refusal"), CASES)
def test_what_breaks_the_contract_is_refused(
    channels: Mapping[str, grpc.Channel], service: str, refusal: Refusal
) -> None:
    """With the documented status, every field that is wrong, what was expected of it, and the method."""
    method = CONTRACTS[service].methods_by_name[refusal.method]
    with pytest.raises(grpc.RpcError) as refused:
        send(channels[service], method, refusal.request)
    error = refused.value
    assert error.code().name == refusal.status, error.details()
    violations = detail(error, error_details_pb2.BadRequest).field_violations
    assert [violation.field for violation in violations] == refusal.fields
    assert all(violation.description for violation in violations)
    info = detail(error, error_details_pb2.ErrorInfo)
    assert (info.domain, info.metadata["method"]) == ("loreline", f"/{CONTRACTS[service].full_name}/{refusal.method}")


def test_every_method_of_every_contract_is_held_to_it() -> None:
    """A new method needs its refusals."""
    methods = {(name, method.name) for name, contract in CONTRACTS.items() for method in contract.methods}
    tested = {(name, refusal.method) for name, refusals in REFUSALS.items() for refusal in refusals}
    assert tested == methods - TAKES_ANYTHING - ON_A_STREAM


@pytest.mark.parametrize("service", CONTRACTS)
def test_bytes_that_are_no_message_are_refused_by_every_method(
    channels: Mapping[str, grpc.Channel], service: str
) -> None:
    """As a request that must be changed, which a caller does not send again; not as a fault of ours."""
    for method in CONTRACTS[service].methods:
        path = f"/{method.containing_service.full_name}/{method.name}"
        with pytest.raises(grpc.RpcError) as refused:
            _send_bytes(channels[service], method, path)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, method.name
        [violation] = detail(refused.value, error_details_pb2.BadRequest).field_violations
        assert violation.field == "request"


def _send_bytes(channel: grpc.Channel, method: MethodDescriptor, path: str) -> None:
    garbage = b"\xff\xff\xff"
    if method.client_streaming:
        list(channel.stream_stream(path)(iter([garbage]), timeout=100))
    elif method.server_streaming:
        list(channel.unary_stream(path)(garbage, timeout=100))
    else:
        channel.unary_unary(path)(garbage, timeout=100)


def test_a_request_of_a_stream_is_refused_in_its_place(addresses: Mapping[str, str]) -> None:
    """As Rank would refuse it; the stream itself ends well."""
    with RankingClient(addresses["ranking"]) as client:
        wrong = RankRequest(user_id="", scenario="", candidate_item_ids=["1"])
        [(place, failure)] = client.rank_stream([wrong], timeout_seconds=100)
    assert place == 0
    assert isinstance(failure, ClientError)
    assert failure.code == "INVALID_ARGUMENT"
    assert [field for field, _ in failure.violations] == ["user_id", "scenario"]
