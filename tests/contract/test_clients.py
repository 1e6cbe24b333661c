"""One suite over all clients of ranking: the blocking and the awaited one of Python, its wheel, and the one of Node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest

from loreline.client import AsyncRankingClient, ClientError, FeaturesClient, Ranked, RankingClient
from loreline.domain import Item, Stamp
from services.cli.local_processes import free_port
from tests.contract.node_client import NodeClient
from tests.contract.wheel_client import WheelClient

CANDIDATES = [f"i{number}" for number in range(6)]  # known to the version's vocabulary


@dataclass(frozen=True)
class Outcome:
    """What a client made of a call: `status` is OK or the error's, `fields` are those of its violations."""

    status: str = "OK"
    item_ids: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """One call of Rank."""

    address: str
    user_id: str = "nobody"
    candidates: Sequence[str] = tuple(CANDIDATES)
    scenario: str = "movies"
    top_k: int = 0
    timeout_seconds: float = 10.0


Rank = Callable[[Asked], Outcome]


def blocking(asked: Asked) -> Outcome:
    """By RankingClient."""
    with RankingClient(asked.address, asked.timeout_seconds) as client:
        try:
            return _ranked(client.rank(asked.user_id, asked.scenario, asked.candidates, top_k=asked.top_k))
        except ClientError as error:
            return _failed(error)


def awaited(asked: Asked) -> Outcome:
    """By AsyncRankingClient."""

    async def ask() -> Outcome:
        async with AsyncRankingClient(asked.address, asked.timeout_seconds) as client:
            try:
                return _ranked(await client.rank(asked.user_id, asked.scenario, asked.candidates, top_k=asked.top_k))
            except ClientError as error:
                return _failed(error)

    return asyncio.run(ask())


def by_node(client: NodeClient) -> Rank:
    """By clients/node."""

    def rank(asked: Asked) -> Outcome:
        code, document = client.rank(
            asked.address,
            f"--user={asked.user_id}",
            f"--candidates={','.join(asked.candidates)}",
            f"--scenario={asked.scenario}",
            f"--top-k={asked.top_k}",
            f"--timeout-ms={asked.timeout_seconds * 1000:.0f}",
        )
        if code == 0:
            return Outcome(
                item_ids=document["item_ids"], scores=document["scores"], unknown=document["unknown_item_ids"]
            )
        assert code == (2 if document["code"] == "INVALID_ARGUMENT" else 1)
        return Outcome(document["code"], fields=[violation["field"] for violation in document["violations"]])

    return rank


def by_wheel(client: WheelClient) -> Rank:
    """By the client's wheel, in an environment that holds nothing else of Loreline."""
    return lambda asked: Outcome(**client.rank(asdict(asked)))


def _ranked(ranked: Ranked) -> Outcome:
    return Outcome(item_ids=ranked.item_ids, scores=ranked.scores.tolist(), unknown=ranked.unknown_item_ids)


def _failed(error: ClientError) -> Outcome:
    return Outcome(error.code, fields=[name for name, _ in error.violations])


@pytest.fixture(params=["blocking", "awaited", "node", pytest.param("wheel", marks=pytest.mark.slow)])
def rank(request: pytest.FixtureRequest) -> Rank:
    """Asks by each client in turn."""
    if request.param == "node":
        return by_node(request.getfixturevalue("node_client"))
    if request.param == "wheel":
        return by_wheel(request.getfixturevalue("wheel_client"))
    return {"blocking": blocking, "awaited": awaited}[request.param]


@pytest.fixture(scope="session")
def ranking(addresses: Mapping[str, str], given_addresses: Mapping[str, str]) -> str:
    """The address of a ranking service that knows the candidates."""
    if given_addresses:
        pytest.skip("the services are somebody else's: no items are written to them")
    stamp = Stamp("contract", datetime(2026, 1, 1, tzinfo=UTC))
    items = [Item(item_id, "movies", f"Film {item_id}", {"genres": ["Drama"]}) for item_id in CANDIDATES]
    with FeaturesClient(addresses["features"]) as features:
        assert set(features.put_contents([(stamp, item) for item in items])) == {"APPLIED"}
    return addresses["ranking"]


def test_every_client_gets_the_same_list(ranking: str, rank: Rank) -> None:
    """Best first, from whichever of the processes behind the port."""
    expected, found = blocking(Asked(ranking)), rank(Asked(ranking))
    assert sorted(found.item_ids) == CANDIDATES
    assert found.item_ids == expected.item_ids
    assert found.scores == sorted(found.scores, reverse=True)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_the_best_are_given_and_unknown_candidates_listed(ranking: str, rank: Rank) -> None:
    """No error."""
    found = rank(Asked(ranking, candidates=["i1", "nowhere", "i0", "i2"], top_k=2))
    assert (len(found.item_ids), found.unknown) == (2, ["nowhere"])


@pytest.mark.slow
def test_the_wheel_brings_loreline_alone(wheel_client: WheelClient) -> None:
    """A package of another name, such as `services`, would clash with the application's own."""
    assert wheel_client.top_level == {"loreline"}


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"user_id": ""}, ["user_id"]),
        ({"scenario": "o" * 129}, ["scenario"]),
        ({"candidates": ["i1", "i2", "i1"]}, ["candidate_item_ids[2]"]),
    ],
    ids=["user", "scenario", "candidates"],
)
def test_a_refusal_names_the_field(
    addresses: Mapping[str, str], rank: Rank, changed: dict[str, str], fields: list[str]
) -> None:
    """Decoded from the status's details."""
    found = rank(Asked(addresses["ranking"], **changed))  # type: ignore[arg-type]
    assert (found.status, found.fields) == ("INVALID_ARGUMENT", fields)


def test_a_service_that_is_not_there_is_unavailable(rank: Rank) -> None:
    """After the retries of the service config, long before the deadline."""
    assert rank(Asked(f"127.0.0.1:{free_port(0)}", timeout_seconds=100)).status == "UNAVAILABLE"


def test_a_service_that_does_not_answer_ends_with_the_deadline(rank: Rank) -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert rank(Asked(address, timeout_seconds=0.3)).status == "DEADLINE_EXCEEDED"


class TestNodeCommand:
    """What people see of rank.mjs."""

    def test_a_list_is_printed(self, ranking: str, node_client: NodeClient) -> None:
        """Place, id, score; then what is unknown, the version and the time."""
        ended = node_client.run("--address", ranking, "--user", "nobody", "--candidates", "i1,i2,nowhere")
        assert ended.returncode == 0, ended.stderr
        first, second, unknown, version = ended.stdout.splitlines()
        assert {first.split()[1], second.split()[1]} == {"i1", "i2"}
        assert unknown == "unknown: nowhere"
        assert version.startswith("model version 1, ")

    def test_a_refusal_is_told_by_field(self, addresses: Mapping[str, str], node_client: NodeClient) -> None:
        """On standard error, with exit code 2."""
        ended = node_client.run("--address", addresses["ranking"], "--user", "1", "--candidates", "a,a")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "\n  candidate_item_ids[1]: must not repeat" in ended.stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--user", "1"], "--candidates must be given"),
            (
                ["--user", "1", "--candidates", "a", "--top-k", "many"],
                '--top-k must be a whole number from 0, is "many"',
            ),
            (["--nonsense"], "--nonsense"),
        ],
    )
    def test_wrong_arguments_are_told_with_the_usage(
        self, node_client: NodeClient, arguments: list[str], words: str
    ) -> None:
        """Exit code 2, nothing asked."""
        ended = node_client.run(*arguments)
        assert ended.returncode == 2
        assert words in ended.stderr
        assert "usage: node rank.mjs" in ended.stderr
