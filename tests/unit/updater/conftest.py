"""A real features service that the updater's stages write to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from loreline.client import FeaturesClient
from services.cli.local_processes import free_port
from services.updater.settings import UpdaterSettings
from tests.processes import running
from tests.waiting import wait_until_serving


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeaturesClient]:
    """A client of a features process over an empty directory; every test uses ids of its own."""
    address, directory = f"127.0.0.1:{free_port(0)}", tmp_path_factory.mktemp("features")
    own = {"LORELINE_FEATURES_LISTEN_ADDRESS": address, "LORELINE_FEATURES_FEATURE_DIRECTORY": str(directory)}
    command = [sys.executable, "-m", "services.features"]
    with (
        (directory / "log").open("wb") as log,
        running(command, env=os.environ | own, stdout=log, stderr=log) as process,
    ):
        wait_until_serving(address, process)
        with FeaturesClient(address, timeout_seconds=100) as client:
            yield client


@pytest.fixture
def updater_settings() -> UpdaterSettings:
    """The defaults; no process is behind the addresses."""
    nowhere = "127.0.0.1:1"
    return UpdaterSettings(
        listen_address=nowhere,
        bootstrap_servers=nowhere,
        knowledge_address=nowhere,
        embedding_address=nowhere,
        features_address=nowhere,
    )
