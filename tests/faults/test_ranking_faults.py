"""Ranking under faults: no wrong list, bounded memory, and what was admitted is answered in time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from deploy.triton.render import render
from loreline.client import ServiceUnavailableError
from loreline.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from services.model_registry import ModelRegistry
from services.ranking.request_stream import AT_ONCE
from tests.faults.line import hanging
from tests.faults.ranking_flow import USER, Shop, film, running_shop
from tests.integration.triton_server import running_triton
from tests.model_versions import register_version
from tests.redis_server import RedisServer
from tests.small_platform import running_embedding, running_features, store_items, store_user
from tests.waiting import wait_until

IDS = [f"i{number}" for number in range(60)]
MEBIBYTE = 1 << 20
NEVER_ADMITTED = ("CANCELLED", "DEADLINE_EXCEEDED")  # they ended on the way, where one machine plays all callers


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Processes that tests of clients share; they must be as well after each."""
    with running_shop(tmp_path_factory.mktemp("shop"), count=2000, RANKING_CONCURRENCY="2") as shop:
        yield shop


@pytest.fixture
def channel(shop: Shop) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(shop.ranking.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> ranking_pb2_grpc.RankingServiceStub:
    return ranking_pb2_grpc.RankingServiceStub(channel)


def undecoded(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """Rank in bytes: a load generator that encodes on the cores of what it loads would measure itself."""
    return channel.unary_unary("/loreline.ranking.v1.RankingService/Rank")


def request_of(item_ids: list[str]) -> ranking_pb2.RankRequest:
    return ranking_pb2.RankRequest(user_id=USER, scenario="movies", candidate_item_ids=item_ids)


def too_late(shop: Shop) -> float:
    """How many requests were admitted, and then were not answered before their caller's time was over."""
    outcomes = ("deadline_exceeded", "cancelled")
    return sum(shop.metric("loreline_ranking_requests_total", outcome=outcome) for outcome in outcomes)


def outcome(call: grpc.Future) -> str:
    """What came of a call: OK, refused with or without a time to come back, or another status."""
    code = call.code()
    if code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return str(code.name)
    status = rpc_status.from_call(call)
    told = status is not None and any(one.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for one in status.details)
    return "refused, told when" if told else "refused"


def check_response(response: ranking_pb2.RankResponse, expected: dict[str, float]) -> None:
    assert sorted(response.item_ids) == sorted(expected)
    np.testing.assert_allclose(response.scores, [expected[item_id] for item_id in response.item_ids], atol=1e-5)


class TestClients:
    """Callers that go, that are slow, and that are too many."""

    def test_callers_that_cancel_leave_no_work_behind(
        self, shop: Shop, stub: ranking_pb2_grpc.RankingServiceStub
    ) -> None:
        """Nobody runs or waits afterwards, and others are answered right."""
        for _ in range(20):
            calls = [stub.Rank.future(request_of(IDS), timeout=10) for _ in range(10)]
            for call in calls:
                call.cancel()
        wait_until(lambda: shop.metric("loreline_ranking_running_requests") == 0, 100, "the work to end")
        assert shop.metric("loreline_ranking_waiting_requests") == 0
        shop.rank(IDS)

    def test_a_stream_that_nobody_reads_holds_up_nobody_else(
        self, shop: Shop, stub: ranking_pb2_grpc.RankingServiceStub
    ) -> None:
        """It is not read from either: memory stays bounded."""
        done = threading.Event()
        sent = Counter()

        def requests() -> Iterator[ranking_pb2.RankStreamRequest]:
            for number in range(100_000):
                if done.is_set():
                    return
                sent["requests"] += 1
                yield ranking_pb2.RankStreamRequest(id=number + 1, request=request_of(IDS))

        before, handled = shop.memory_bytes(), self._handled(shop)
        stream = stub.RankStream(requests())
        wait_until(
            lambda: self._handled(shop) >= handled + AT_ONCE and self._is_idle(shop), 100, "the stream to be held back"
        )
        for _ in range(20):
            shop.rank(IDS)
        done.set()
        stream.cancel()
        assert shop.memory_bytes() < before + 64 * MEBIBYTE
        assert sent["requests"] < 100_000
        wait_until(lambda: shop.metric("loreline_ranking_running_requests") == 0, 100, "the work to end")

    def _handled(self, shop: Shop) -> float:
        """Requests that were ranked or refused so far."""
        return shop.metric("loreline_ranking_requests_total") + shop.metric("loreline_ranking_shed_requests_total")

    def _is_idle(self, shop: Shop) -> bool:
        return shop.metric("loreline_ranking_running_requests") == shop.metric("loreline_ranking_waiting_requests") == 0

    def test_four_times_the_load_is_refused_early_and_the_rest_is_answered_in_time(
        self, shop: Shop, channel: grpc.Channel, stub: ranking_pb2_grpc.RankingServiceStub, full_size: bool
    ) -> None:
        """Right lists, RetryInfo on what is refused, hardly anything admitted too late, and memory as before."""
        expected, request = shop.expected(list(shop.items)), request_of(list(shop.items))
        pace = 1 / (4 * capacity(stub, request))
        late = too_late(shop)
        rank, encoded = undecoded(channel), request.SerializeToString()

        def flood(until: float) -> list[grpc.Future]:
            due = time.monotonic()
            begun: list[grpc.Future] = []  # a future that nobody holds is cancelled
            while (now := time.monotonic()) < until:
                if now < due:
                    time.sleep(due - now)
                due += pace
                begun.append(rank.future(encoded, timeout=2))
            return begun

        begun = flood(time.monotonic() + 1)
        before = shop.memory_bytes()
        begun += flood(time.monotonic() + (30 if full_size else 3))
        outcomes: Counter[str] = Counter()
        for call in begun:
            outcomes[outcome(call)] += 1
            if call.code() is grpc.StatusCode.OK:
                check_response(ranking_pb2.RankResponse.FromString(call.result()), expected)
        assert set(outcomes) <= {"OK", "refused", "refused, told when", *NEVER_ADMITTED}
        assert outcomes["OK"] > 0
        assert outcomes["refused, told when"] > 0
        assert too_late(shop) - late <= 0.02 * outcomes["OK"]  # a busy machine may stop any process for a moment
        assert shop.metric("loreline_ranking_shed_requests_total") > 0
        assert shop.memory_bytes() < before + 64 * MEBIBYTE
        wait_until(lambda: shop.metric("loreline_ranking_running_requests") == 0, 100, "the work to end")
        shop.rank(IDS)


def capacity(stub: ranking_pb2_grpc.RankingServiceStub, request: ranking_pb2.RankRequest) -> float:
    """Requests a second that two patient callers get answered."""
    counts: list[int] = []

    def ask() -> None:
        until, count = time.monotonic() + 1, 0
        while time.monotonic() < until:
            stub.Rank(request, timeout=10)
            count += 1
        counts.append(count)

    callers = [threading.Thread(target=ask) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return sum(counts)


class TestDependencies:
    """Parts that go away and come back."""

    @pytest.mark.slow
    @pytest.mark.timeout(200)
    def test_features_that_come_back_with_a_changed_item_are_followed(self, tmp_path: Path) -> None:
        """Callers are told meanwhile, and the stale item is gone soon after."""
        with running_shop(tmp_path) as shop:
            shop.rank(IDS)
            shop.kill("features")
            with pytest.raises(ServiceUnavailableError, match="features"):
                shop.rank(IDS)
            shop.revive("features")
            before = shop.expected(["i5"])
            wait_until(lambda: self._is_stored(shop), 20, "the connection to features to come back")
            assert shop.expected(["i5"]) != before
            wait_until(lambda: self._is_new(shop), 20, "the change to be seen")
            for _ in range(20):
                shop.rank(IDS)

    def _is_stored(self, shop: Shop) -> bool:
        try:
            shop.put(film("i5", 2))
        except ServiceUnavailableError:
            return False
        return True

    def _is_new(self, shop: Shop) -> bool:
        try:
            ranked = shop.ranking.rank(USER, "movies", ["i5"])
        except ServiceUnavailableError:
            return False
        return ranked.scores[0] == pytest.approx(shop.expected(["i5"])["i5"], abs=1e-5)

    @pytest.mark.slow
    @pytest.mark.timeout(200)
    def test_a_redis_that_is_killed_and_comes_back_gives_the_same_lists(self, tmp_path: Path) -> None:
        """With what it had written to its disk; callers are told while it is away."""
        with ExitStack() as stack:
            redis = stack.enter_context(RedisServer(tmp_path, durable=True))
            store = {"FEATURES_ONLINE_STORE": "redis", "REDIS_CONNECTION": redis.address}
            shop = stack.enter_context(running_shop(tmp_path / "home", **store))
            shop.rank(IDS)
            redis.kill()
            with pytest.raises(ServiceUnavailableError):
                shop.rank(IDS)
            redis.start()
            wait_until(lambda: self._answers(shop), 20, "the lists to come back")
            for _ in range(5):
                shop.rank(IDS)

    def _answers(self, shop: Shop) -> bool:
        try:
            shop.rank(IDS)
        except ServiceUnavailableError:
            return False
        return True

    @pytest.mark.slow
    @pytest.mark.timeout(300)
    def test_a_triton_that_is_killed_hangs_and_comes_back_is_not_noticed_with_the_fallback(
        self, tmp_path: Path
    ) -> None:
        """Every list is right, and says where it was scored."""
        registry, output = ModelRegistry(tmp_path / "home" / "models"), tmp_path / "triton"
        register_version(registry, promote=True)
        render(registry, output, "python")
        with running_triton(output) as triton:
            options = {"RANKING_TRITON_ADDRESS": triton.address, "RANKING_TRITON_FALLBACK": "true"}
            with running_shop(tmp_path / "home", **options, RANKING_TRITON_TIMEOUT_SECONDS="0.3") as shop:
                assert shop.rank(IDS).scoring_place == "TRITON"
                with hanging(triton.process.pid):
                    places = {shop.rank(IDS).scoring_place for _ in range(8)}
                assert places == {"FALLBACK"}
                wait_until(lambda: shop.rank(IDS).scoring_place == "TRITON", 30, "Triton to be used again")
                triton.kill()
                assert {shop.rank(IDS).scoring_place for _ in range(20)} == {"FALLBACK"}
                with running_triton(output, address=triton.address):
                    wait_until(lambda: shop.rank(IDS).scoring_place == "TRITON", 30, "Triton to be used again")


class TestPromotion:
    """The command, in a process of its own, over real features and embedding services."""

    @pytest.fixture
    def registry(self, tmp_path: Path) -> ModelRegistry:
        """Version 1 active, 2 to be promoted, 3 poisoned."""
        registry = ModelRegistry(tmp_path / "models")
        register_version(registry, promote=True)
        register_version(registry)
        register_version(registry, poison={"item_table": np.nan})
        return registry

    @pytest.fixture
    def promote(self, tmp_path: Path, registry: ModelRegistry) -> Iterator[object]:
        """Runs the command to its end, or to its death at the n-th call of what it does."""
        with running_features(tmp_path / "features") as features, running_embedding(registry) as embedding:
            store_items(features, ["a", "b"])
            store_user(features, "ann")
            environment = os.environ | {
                "LORELINE_CLI_HOME": str(tmp_path),
                "LORELINE_CLI_FEATURES_ADDRESS": features.address,
                "LORELINE_CLI_EMBEDDING_ADDRESS": embedding.address,
                "COLUMNS": "200",
            }

            def run(*arguments: str, die_at: str = "") -> subprocess.CompletedProcess[str]:
                module = "tests.faults.dying_command" if die_at else "services.cli"
                command = [sys.executable, "-m", module, "models", "promote", *arguments]
                died = environment | {"DIE_AT": die_at}
                return subprocess.run(command, env=died, capture_output=True, text=True, timeout=60, check=False)

            self.features = features
            yield run

    @pytest.mark.parametrize("die_at", ["adapt 1", "adapt 3", "put_augmented 1", "put_augmented 2", "direct 1"])
    def test_a_killed_promotion_leaves_the_old_version_and_a_second_one_finishes(
        self, promote: object, registry: ModelRegistry, die_at: str
    ) -> None:
        """SIGKILL in the golden set, in the vectors, and just before the flip."""
        assert promote("2", die_at=die_at).returncode == -9
        assert registry.active() == "1"
        done = promote("2")
        assert done.returncode == 0, done.stderr
        assert registry.active() == "2"
        assert all("2" in item.augmented for item in self.features.items(["a", "b"]).items)
        assert "2" in self.features.user("ann").user.augmented

    def test_a_poisoned_version_is_refused_with_exit_code_1(self, promote: object, registry: ModelRegistry) -> None:
        """The message says what is wrong; also as a canary."""
        for option in ([], ["--canary", "5%"], ["--shadow", "5%"]):
            done = promote("3", *option)
            assert done.returncode == 1
            assert "version 3 is refused: scorer in this process: 6 of 6 scores are NaN or infinite" in done.stderr
            assert (registry.active(), registry.traffic().candidate) == ("1", None)

    def test_a_canary_begins_with_its_share(self, promote: object, registry: ModelRegistry) -> None:
        """And the command says what to look at next."""
        done = promote("2", "--canary", "5%")
        assert done.returncode == 0, done.stderr
        assert "version 2 is the canary: it ranks 5.0% of the users" in done.stdout
        traffic = registry.traffic()
        assert traffic.canary is not None
        assert (traffic.active, traffic.canary.version, traffic.canary.share) == ("1", "2", 0.05)
