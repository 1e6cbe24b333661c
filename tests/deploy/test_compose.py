"""docker-compose.yml and the Dockerfile, read by the real tools, agree with what the services ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from services.embedding.settings import EmbeddingSettings
from services.features.settings import FeaturesSettings
from services.knowledge.settings import KnowledgeSettings
from services.ranking.settings import RankingSettings
from services.trainer.settings import TrainerSettings
from services.updater.settings import UpdaterSettings

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SETTINGS: dict[str, type[BaseSettings]] = {
    "knowledge": KnowledgeSettings,
    "embedding": EmbeddingSettings,
    "features": FeaturesSettings,
    "updater": UpdaterSettings,
    "ranking": RankingSettings,
    "trainer": TrainerSettings,
}
PROFILES = ["--profile", "triton", "--profile", "tgi", "--profile", "train"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The configuration as Compose itself resolves it, with all profiles."""
    command = [BIN / "docker-compose", "--env-file", ".env.example", *PROFILES, "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize("service", SETTINGS)
def test_a_service_starts_with_the_environment_it_is_given(
    compose: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own settings class takes all variables, and knows each of them."""
    environment: dict[str, str] = compose["services"][service]["environment"]
    for name in [name for name in os.environ if name.startswith("LORELINE_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value or "")
    settings = SETTINGS[service]()
    prefix = f"LORELINE_{service.upper()}_"
    own = {name.removeprefix(prefix).lower() for name in environment if name.startswith(prefix)}
    assert own <= set(type(settings).model_fields)


def test_addresses_point_at_the_ports_on_which_services_listen(compose: dict[str, Any]) -> None:
    """A wrong port would only show after a deployment."""
    listening = {
        name: definition["environment"][f"LORELINE_{name.upper()}_LISTEN_ADDRESS"].split(":")[1]
        for name, definition in compose["services"].items()
        if name in SETTINGS and name != "trainer"
    }
    for definition in compose["services"].values():
        for variable, value in (definition.get("environment") or {}).items():
            host, _, port = (value or "").partition(":")
            if variable.endswith("_ADDRESS") and host in listening:
                assert port == listening[host], variable


def test_extras_of_every_image_exist(compose: dict[str, Any]) -> None:
    """An unknown extra is only a warning to pip, and an image without its packages to us."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        known = set(tomllib.load(file)["project"]["optional-dependencies"])
    for name, definition in compose["services"].items():
        arguments = definition.get("build", {}).get("args", {})
        asked = (arguments.get("EXTRAS") or arguments.get("SERVICE") or "").split(",")
        assert not arguments or set(asked) <= known, name


def test_every_service_that_runs_on_has_a_health_check(compose: dict[str, Any]) -> None:
    """`up --wait` and `depends_on` live on them."""
    lasting = {name: d for name, d in compose["services"].items() if d.get("restart") != "no"}
    assert [name for name, definition in lasting.items() if "healthcheck" not in definition] == []


def test_published_ports_are_bound_to_this_machine_alone(compose: dict[str, Any]) -> None:
    """Nothing here asks for a password."""
    ports = [port for definition in compose["services"].values() for port in definition.get("ports", [])]
    assert ports
    assert all(port["host_ip"] == "127.0.0.1" for port in ports)


def test_foreign_images_are_pinned_to_a_version(compose: dict[str, Any]) -> None:
    """`latest` would be another program tomorrow."""
    images = [definition["image"] for definition in compose["services"].values() if "build" not in definition]
    for image in images:
        assert image == "loreline-ranking" or image.rsplit(":", 1)[1] not in ("", "latest"), image


def test_the_dockerfile_passes_hadolint() -> None:
    """Without a warning left out."""
    done = subprocess.run(
        [BIN / "hadolint", "deploy/Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
