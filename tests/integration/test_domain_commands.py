"""Several domains through the command: loaded, trained, one added, ranked, removed, compared, and what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from loreline.client import ClientError, RankingClient
from loreline.client.ranking_calls import Ranked
from services.cli.local_processes import LocalProcesses
from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry, verify_files
from services.model_registry.sequence_golden import verify_networks
from services.model_registry.unictr_files import ATTENTION_MASK, INPUT_IDS, LANGUAGE_MODEL_FILE, STATES, network_file
from services.scenarios import load_scenario
from services.trainer.release.onnx_files import open_onnx
from services.trainer.training.config import FOLDER as CONFIGS
from tests.several_domains import write_domains, write_language_model
from tests.unit.cli.command import Command

SERVICES = Path(__file__).parents[2] / "services"
DOMAINS = ("music", "retail", "books")
LOADING_TRIES = 300


@pytest.fixture(scope="module", autouse=True)
def _ranked_by_texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The domains' scenarios are the shipped ones with `scorer: unictr`."""
    folder = tmp_path_factory.mktemp("scenarios")
    for name in DOMAINS:
        shipped = (SERVICES / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(f"{shipped}\nscorer: unictr\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORELINE_SCENARIO_DIRECTORY", str(folder))
        load_scenario.cache_clear()
        yield
    load_scenario.cache_clear()


@pytest.fixture(scope="module")
def loreline(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command over a home where three domains are loaded."""
    command = Command(tmp_path_factory.mktemp("home"), {})
    folder = write_domains(tmp_path_factory.mktemp("domains"), DOMAINS, interactions=160)
    loaded = command("data", "load", "multi-domain", "--path", str(folder), "--json")
    assert loaded.code == 0, loaded.stderr
    assert [domain["domain"] for domain in loaded.document["domains"]] == sorted(DOMAINS)
    assert loaded.document["held_out_items"] == 0
    return command


@pytest.fixture(scope="module")
def config(loreline: Command, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shipped config of unictr, made small, on two of the domains."""
    small = {
        "language_model": str(write_language_model(tmp_path_factory.mktemp("bert"))),
        "network_options": {"tower": [16], "gate_width": 8},
        "domains": ["music", "retail"],
        "ladder_every": 1,
        "max_tokens": 64,
        "epochs": 1,
    }
    path = loreline.home / "small.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((CONFIGS / "unictr.yaml").read_text()) | small))
    return str(path)


@pytest.fixture(scope="module")
def trained(loreline: Command, config: str) -> str:
    """The version that was trained on two domains."""
    done = loreline("train", "--config", config, "--json")
    assert done.code == 0, done.stderr
    assert set(done.document["domains"]) == set(done.document["heads"]) == {"music", "retail"}
    assert done.document["parts"]["music"] == {"training": 128, "validation": 16, "test": 16}
    return str(done.document["version"])


@pytest.fixture(scope="module")
def added(loreline: Command, trained: str) -> str:
    """The version with a third domain."""
    done = loreline("domains", "add", "books", "--version", trained, "--json")
    assert done.code == 0, done.stderr
    assert set(done.document["domains"]) == {"books"}
    return str(done.document["version"])


@pytest.fixture(scope="module")
def ranking(loreline: Command) -> Iterator[RankingClient]:
    """A client of the ranking process that `loreline up` started, and features behind it."""
    processes = LocalProcesses(CliSettings(home=loreline.home, preferred_ports=False))
    try:
        _up(loreline, "features", "ranking")
        with RankingClient(processes.address("ranking"), timeout_seconds=100) as client:
            yield client
    finally:
        list(processes.stop())


def test_a_trained_version_is_registered_and_proves_itself(loreline: Command, trained: str) -> None:
    """All its files by their hashes, and each network by its golden set."""
    registry = ModelRegistry(loreline.home / "models")
    manifest, folder = registry.manifest(trained), registry.folder(trained)
    assert (manifest.kind, manifest.scenarios) == ("unictr", ["music", "retail"])
    assert {"auc", "auc music", "auc retail"} <= set(manifest.metrics)
    verify_files(folder, manifest)
    model = open_onnx(folder / LANGUAGE_MODEL_FILE)

    def score(name, ids, mask):
        states = model.run(None, {INPUT_IDS: ids, ATTENTION_MASK: mask})[0]
        return open_onnx(folder / network_file(name)).run(None, {STATES: states, ATTENTION_MASK: mask})[0]

    assert verify_networks(score, manifest, folder) < 1e-3


def test_a_domain_is_added_and_removed_and_every_other_file_stays(loreline: Command, trained: str, added: str) -> None:
    """One network and its golden set more, then less; the others byte for byte."""
    hashes, more = _hashes(loreline, trained), _hashes(loreline, added)
    assert set(more) - set(hashes) == {"network-books.onnx", "golden-books.npz"}
    assert {name for name in hashes if more[name] != hashes[name]} == {"prompts.json", "manifest.json"}
    removed = loreline("domains", "remove", "music", "--version", added, "--json")
    assert removed.code == 0, removed.stderr
    less = _hashes(loreline, removed.document["version"])
    assert set(more) - set(less) == {"network-music.onnx", "golden-music.npz"}
    assert {name for name in less if more[name] != less[name]} == {"prompts.json", "manifest.json"}
    listed = loreline("domains", "list", "--version", removed.document["version"], "--json")
    told = [(row["domain"], row["scorer"]) for row in listed.document["domains"]]
    assert told == [("retail", "unictr"), ("books", "unictr"), ("general", "-")]


def test_an_added_domain_is_ranked_over_grpc_by_its_own_network(
    loreline: Command, ranking: RankingClient, trained: str, added: str
) -> None:
    """By the general one until then; the domains of before are scored as they were."""
    general, music = _promoted(loreline, ranking, trained, "books"), _rank(ranking, "music")
    own, same = _promoted(loreline, ranking, added, "books"), _rank(ranking, "music")
    assert (general.scenario_route, own.scenario_route) == ("GENERAL", "KNOWN")
    assert not np.array_equal(_by_item(general), _by_item(own))
    assert (music.model_version, same.model_version, same.scenario_route) == (trained, added, "KNOWN")
    np.testing.assert_array_equal(_by_item(music), _by_item(same))


def test_configs_of_several_domains_are_compared(loreline: Command, config: str) -> None:
    """A table for each domain, with the head that scored it; the left-out one by the general network."""
    options = ("--config", config, "--config", "shared-bottom", "--set", "epochs=1", "--set", "left_out=books")
    chosen = ("--set", "domains=music", "--seeds", "1", "--output", str(loreline.home / "found"))
    done = loreline("evaluate", *options, *chosen, "--json")
    assert done.code == 0, done.stderr
    small, shared = done.document
    assert small["domains"]["books"]["heads"] == ["general"]
    assert shared["domains"]["books"]["heads"] == ["music"]
    assert shared["reference"] == "small"
    again = loreline("evaluate", *options, *chosen)
    assert "RelaImpr" in again.stdout
    assert "note: books: 1 of 30 items have no title" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--config", "mmoe"), "network: mmoe is a baseline"),
        (("evaluate", "--config", "unictr", "--config", "din"), "configs of several domains are not compared with"),
        (
            ("evaluate", "--config", "unictr", "--set", "prompt=full"),
            "--set: must be FIELD=VALUE with a field of: ",
        ),
        (
            ("evaluate", "--config", "mmoe", "--set", "left_out=shoes"),
            "left_out: must be of the dataset's domains",
        ),
        (
            ("domains", "add", "shoes", "--version", "1"),
            "domain: the loaded dataset has no domain 'shoes'",
        ),
        (("domains", "add", "music", "--version", "1"), "domain: version 1 has a network of 'music' already"),
        (
            ("domains", "remove", "books", "--version", "1"),
            "domain: version 1 has no network of 'books'",
        ),
        (("domains", "list", "--version", "99"), "--version: no model version '99'"),
    ],
)
def test_what_cannot_be_done_ends_with_code_2_and_says_why(
    loreline: Command, trained: str, arguments: tuple[str, ...], words: str
) -> None:
    """Nothing is trained or registered."""
    done = loreline(*arguments)
    assert (done.code, words in done.stderr) == (2, True), done.stderr


def test_training_over_domains_needs_a_dataset_of_several(loreline: Command, tmp_path: Path, config: str) -> None:
    """The command that loads one is named."""
    (tmp_path / "items.csv").write_text("id,name\n1,One\n2,Two\n")
    (tmp_path / "log.csv").write_text("user,item,stars,at\na,1,5,20\na,2,1,10\n")
    mapping = {
        "name": "small",
        "scenario": "movies",
        "items": {"file": "items.csv", "id": "id", "title": "name"},
        "interactions": {"file": "log.csv", "user": "user", "item": "item", "rating": "stars", "time": "at"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(mapping))
    other = Command(tmp_path / "home", {})
    path = str(tmp_path / "small.yaml")
    assert other("data", "load", "generic", "--path", path, "--hold-out", "0").code == 0
    done = other("train", "--config", config)
    assert done.code == 1
    assert "run `loreline data load multi-domain` first" in done.stderr


def _hashes(loreline: Command, version: str) -> dict[str, str]:
    folder = ModelRegistry(loreline.home / "models").folder(version)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _up(loreline: Command, *names: str) -> None:
    """Start processes by a command of its own: they are its children, not those of the tests."""
    command = [str(Path(sys.executable).with_name("loreline")), "up", *names]
    variables = {"LORELINE_CLI_HOME": str(loreline.home), "LORELINE_CLI_PREFERRED_PORTS": "false"}
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _promoted(loreline: Command, ranking: RankingClient, version: str, scenario: str) -> Ranked:
    """Promote a version; a list of the scenario as soon as ranking has loaded it."""
    promoted = loreline("models", "promote", version)
    assert promoted.code == 0, promoted.stdout + promoted.stderr
    for _ in range(LOADING_TRIES):
        with suppress(ClientError):  # nothing is loaded yet
            if (ranked := _rank(ranking, scenario)).model_version == version:
                return ranked
        time.sleep(0.2)
    raise AssertionError(f"ranking has not loaded version {version}")


def _rank(ranking: RankingClient, scenario: str) -> Ranked:
    return ranking.rank("u1", scenario, [f"{scenario}-{n}" for n in range(12)])


def _by_item(ranked: Ranked) -> list[float]:
    """The scores by item id, so that lists of another order can be compared."""
    assert not ranked.unknown_item_ids
    return [score for _, score in sorted(zip(ranked.item_ids, ranked.scores, strict=True))]
