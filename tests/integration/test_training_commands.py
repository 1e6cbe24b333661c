"""Every backbone and every re-ranker, trained through the command on MovieLens-100K."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.ctr.rerankers import RERANKERS
from services.model_registry import ModelRegistry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
BACKBONES = ("din", "dien", "dcn", "dcnv2", "deepfm", "xdeepfm", "autoint", "fibinet", "fignn")
CONFIGS = Path(__file__).parents[2] / "services" / "trainer" / "configs"


class Commands:
    """The command over one home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *arguments: str) -> Any:
        """What the command printed as JSON; a failure fails the test with its words."""
        environment = os.environ | {"LORELINE_CLI_HOME": str(self.home), "LORELINE_CLI_PREFERRED_PORTS": "false"}
        command = [str(Path(sys.executable).with_name("loreline")), *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=self.home)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout)

    def config(self, name: str, **changes: object) -> str:
        """A shipped config, changed for one short run."""
        path = self.home / f"{name}.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load((CONFIGS / path.name).read_text()) | changes))
        return str(path)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A home with MovieLens-100K and its knowledge loaded, and no process left behind."""
    found = Commands(tmp_path_factory.mktemp("training"))
    found.run("data", "load", "movielens-100k")
    found.run("knowledge", "build")
    yield found
    found.run("down")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_is_trained_compared_and_registered(commands: Commands, backbone: str) -> None:
    """One epoch finds more than chance, with knowledge and without, and both halves stand in the registry."""
    report = commands.run("train", "--config", commands.config(backbone, epochs=1, batch_size=1024))
    assert min(report["knowledge_off"]["auc"], report["knowledge_on"]["auc"]) > 0.6
    manifest = ModelRegistry(commands.home / "models").manifest(report["version"])
    assert manifest.backbone == backbone
    assert set(manifest.file_hashes) == {"adaptor.onnx", "golden.npz", "scorer.onnx"}


def test_knowledge_of_users_alone_is_built_anew(commands: Commands) -> None:
    """And items keep theirs: a run over both goes on."""
    built = commands.run("knowledge", "build", "--subject", "user")
    assert (built["items"], built["users"] > 900) == (0, True)
    config = commands.config("din", epochs=1, batch_size=1024)
    assert commands.run("train", "--config", config)["knowledge_on"]["auc"] > 0.6


def test_an_evaluation_tells_what_collective_knowledge_saved(commands: Commands) -> None:
    """The questions beside the metrics: one for each group, where everybody had one."""
    built = commands.run("knowledge", "build", "--mode", "collective", "--clusters", "20")
    config = commands.config("din", epochs=1, batch_size=1024)
    [comparison] = commands.run("evaluate", "--config", config, "--seeds", "1", "--output", "collective")
    subjects = built["items"] + built["users"]
    assert comparison["knowledge"] == {"llm_calls": built["llm_calls"], "subjects": subjects}
    assert built["llm_calls"] == 40 == subjects - built["llm_calls_saved"]


def test_the_rerankers_are_compared_over_seeds_and_plotted(commands: Commands) -> None:
    """One epoch each: a comparison for every one, the JSON file and both pictures."""
    configs = [part for name in RERANKERS for part in ("--config", commands.config(name, epochs=1))]
    comparisons = commands.run("evaluate", *configs, "--seeds", "2", "--output", "found")
    assert [comparison["label"] for comparison in comparisons] == list(RERANKERS)
    assert all(comparison["on"]["map@5"] > 0.3 for comparison in comparisons)
    written = commands.home / "found"
    assert json.loads((written / "evaluation.json").read_text()) == comparisons
    assert (written / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (written / "evaluation.svg").read_text()
