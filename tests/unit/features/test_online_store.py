"""Errors of the online store: whose fault each is."""

from __future__ import annotations

from pathlib import Path

import pytest
from feast import FeatureStore

from loreline.client import ClientError, FeaturesClient, ServiceUnavailableError
from services.features.__main__ import main
from tests.faults.line import hanging
from tests.redis_server import RedisServer
from tests.unit.features.conftest import Features, serving
from tests.unit.features.feature_samples import film, stamp


@pytest.fixture
def redis_server(tmp_path: Path) -> RedisServer:
    """A server that a test may stop."""
    (tmp_path / "redis").mkdir()
    return RedisServer(tmp_path / "redis", durable=True)


def assert_unavailable(client: FeaturesClient) -> None:
    """A read and a write are told so by the service, long before the caller's own time is over."""
    for ask in (lambda: client.items(["m1"]), lambda: client.put_contents([(stamp("e2", 1), film("m2"))])):
        with pytest.raises(ServiceUnavailableError, match=r"(online store|ledger) does not answer") as failed:
            ask()
        assert failed.value.code == "UNAVAILABLE"


def test_a_redis_that_hangs_or_is_gone_is_unavailable(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was stored is read again once it is back."""
    with redis_server:
        monkeypatch.setenv("LORELINE_REDIS_CONNECTION", redis_server.address)
        with serving(tmp_path, "redis") as features:
            features.client.put_contents([(stamp("e1"), film())])
            with hanging(redis_server.pid):
                assert_unavailable(features.client)
            redis_server.kill()
            assert_unavailable(features.client)
            redis_server.start()
            assert [item.item_id for item in features.client.items(["m1"]).items] == ["m1"]


@pytest.mark.parametrize(
    ("connection", "fault"),
    [("", "host:port"), ("redis", "host:port"), ("redis:6379,passwrd=x", "passwrd"), ("redis:6379,db=one", "one")],
)
def test_a_wrong_connection_is_refused_at_the_start(
    connection: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the name of the variable."""
    given = {"LISTEN_ADDRESS": "127.0.0.1:0", "FEATURE_DIRECTORY": str(tmp_path), "ONLINE_STORE": "redis"}
    for name, value in given.items():
        monkeypatch.setenv(f"LORELINE_FEATURES_{name}", value)
    monkeypatch.setenv("LORELINE_REDIS_CONNECTION", connection)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert "LORELINE_REDIS_CONNECTION" in said
    assert fault in said


def test_a_mistake_of_ours_is_not_called_an_outage(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is waited for without end; a mistake must come to light."""

    def mistaken(*_: object) -> None:
        raise TypeError("not what was expected")

    monkeypatch.setattr(FeatureStore, "get_online_features", mistaken)
    with pytest.raises(ClientError) as failed:
        features.client.items(["m1"])
    assert failed.value.code == "INTERNAL"
