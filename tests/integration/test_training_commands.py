"""Every backbone and every re-ranker, trained through the command on a part of MovieLens-100K."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from services.cli.settings import CliSettings
from services.cli.startup import start_processes
from services.ctr.rerankers import RERANKERS
from services.model_registry import ModelRegistry
from services.trainer.training.config import FOLDER as CONFIGS
from tests.unit.cli.command import Command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
BACKBONES = ("din", "dien", "dcn", "dcnv2", "deepfm", "xdeepfm", "autoint", "fibinet", "fignn")
SHORT = {"epochs": 4, "batch_size": 128, "patience": 4, "history_length": 6, "learning_rate": 0.002}


@pytest.fixture(scope="module")
def loreline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command over a home with a part of MovieLens-100K and its knowledge, and no process left behind.

    140 viewers and the 300 films they rated most: 9,000 ratings are enough to find more than chance in.
    """
    command = Command(tmp_path_factory.mktemp("training"), {})
    settings = CliSettings(home=command.home, preferred_ports=False)
    processes = start_processes(settings, ["knowledge", "embedding"], show=False)
    try:
        run(command, "data", "load", "movielens-100k", "--option", "users=140", "--option", "items=340")
        run(command, "knowledge", "build")
        yield command
    finally:
        list(processes.stop())


def run(command: Command, *arguments: str) -> Any:
    """What the command printed as JSON; a failure fails the test with its words."""
    done = command(*arguments, "--json")
    assert done.code == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.document


def short(loreline: Command, name: str, **changes: object) -> str:
    """A shipped config, changed for one short run."""
    path = loreline.home / f"{name}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((CONFIGS / path.name).read_text()) | changes))
    return str(path)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_is_trained_compared_and_registered(loreline: Command, backbone: str) -> None:
    """A short run finds more than chance, with knowledge and without, and both halves stand in the registry."""
    report = run(loreline, "train", "--config", short(loreline, backbone, **SHORT))
    assert min(report["knowledge_off"]["auc"], report["knowledge_on"]["auc"]) > 0.6
    manifest = ModelRegistry(loreline.home / "models").manifest(report["version"])
    assert manifest.backbone == backbone
    assert set(manifest.file_hashes) == {"adaptor.onnx", "golden.npz", "scorer.onnx"}


def test_knowledge_of_users_alone_is_built_anew(loreline: Command) -> None:
    """And items keep theirs: a run over both goes on."""
    built = run(loreline, "knowledge", "build", "--subject", "user")
    assert (built["items"], built["users"]) == (0, 140)
    config = short(loreline, "din", **SHORT)
    assert run(loreline, "train", "--config", config)["knowledge_on"]["auc"] > 0.6


def test_an_evaluation_tells_what_collective_knowledge_saved(loreline: Command) -> None:
    """The questions beside the metrics: one for each group, where everybody had one."""
    built = run(loreline, "knowledge", "build", "--mode", "collective", "--clusters", "20")
    config = short(loreline, "din", **SHORT)
    output = str(loreline.home / "collective")
    [comparison] = run(loreline, "evaluate", "--config", config, "--seeds", "1", "--output", output)
    subjects = built["items"] + built["users"]
    assert comparison["knowledge"] == {"llm_calls": built["llm_calls"], "subjects": subjects}
    assert built["llm_calls"] == 40 == subjects - built["llm_calls_saved"]


def test_the_rerankers_are_compared_over_seeds_and_plotted(loreline: Command) -> None:
    """A short run each: a comparison for every one, the JSON file and both pictures."""
    configs = [part for name in RERANKERS for part in ("--config", short(loreline, name, epochs=4, batch_size=64))]
    comparisons = run(loreline, "evaluate", *configs, "--seeds", "2", "--output", str(loreline.home / "found"))
    assert [comparison["label"] for comparison in comparisons] == list(RERANKERS)
    assert all(comparison["on"]["map@5"] > 0.3 for comparison in comparisons)
    written = loreline.home / "found"
    assert json.loads((written / "evaluation.json").read_text()) == comparisons
    assert (written / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (written / "evaluation.svg").read_text()
