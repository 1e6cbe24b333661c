"""The services whose contracts are tested: those at the addresses given, or real local processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from services.cli.local_processes import LocalProcesses
from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.model_registry import ModelRegistry
from tests.contract.node_client import NodeClient
from tests.contract.refusals import REFUSALS
from tests.contract.wheel_client import WheelClient
from tests.model_versions import of_encoder, register_version

SERVICES = tuple(REFUSALS)


@pytest.fixture(scope="session")
def given_addresses(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """host:port of the services that somebody else runs, by name."""
    options = {name: request.config.getoption(f"--{name}-address") for name in SERVICES}
    return {name: address for name, address in options.items() if address}


@pytest.fixture(scope="session")
def addresses(
    given_addresses: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """host:port of each service. Local ones have an active version; ranking runs two processes and keeps an index."""
    if len(given_addresses) == len(SERVICES):
        yield given_addresses
        return
    home = tmp_path_factory.mktemp("contract")
    set_addresses = {f"{name}_address": address for name, address in given_addresses.items()}
    settings = CliSettings(home=home, preferred_ports=False, **set_addresses)  # type: ignore[arg-type]
    register_version(ModelRegistry(settings.model_registry), promote=True, **of_encoder())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LORELINE_RANKING_PROCESSES", "2")
        environment.setenv("LORELINE_RANKING_INDEX", "hnsw")
        processes: LocalProcesses = start_processes(settings, SERVICES, show=False)
    yield {name: processes.address(name) for name in SERVICES}  # the variables must not reach what other tests start
    list(processes.stop())


@pytest.fixture(scope="session")
def wheel_client(tmp_path_factory: pytest.TempPathFactory) -> WheelClient:
    """The Python client's wheel in an environment of its own."""
    return WheelClient.install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def node_client() -> NodeClient:
    """The Node client with its packages; the test is skipped where they cannot be had."""
    return NodeClient.installed()
