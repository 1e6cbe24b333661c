"""Real parts that several test folders share, each started once for the session on a free port."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

# Two files of tests run at a time: threads of OpenMP that spin for each other on the same cores take ten times as long.
# Set before anything loads OpenMP; the processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import prometheus_client  # noqa: F401  before Feast, whose import has all metrics kept in files that processes share
import pytest

from tests.kafka_broker import running_broker


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suite run against a cluster that exists already, and the contract tests against such services."""
    parser.addoption("--full-size", action="store_true", help="floods and outages as large as they are in earnest")
    parser.addoption("--bootstrap-servers", default="", help="Kafka brokers to test against")
    for service in ("knowledge", "embedding", "features", "ranking"):
        parser.addoption(f"--{service}-address", default="", help=f"a {service} service to hold to its contract")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Keep from the worker processes what Feast's import, by a folder's conftest, has set here."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real broker that speaks Kafka's protocol."""
    given = request.config.getoption("--bootstrap-servers")
    if given:
        yield given
        return
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.address


@pytest.fixture
def full_size(request: pytest.FixtureRequest) -> bool:
    """Whether a test shall not make do with the smallest flood or outage that shows its rule."""
    return bool(request.config.getoption("--full-size"))


@pytest.fixture
def unique_name() -> str:
    """A name that no other test uses, for topics and groups."""
    return f"test-{uuid.uuid4().hex[:12]}"
