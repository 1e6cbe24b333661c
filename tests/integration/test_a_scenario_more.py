"""The lines by which docs/extending.md adds a scenario, run as they stand there, and what ranking then answers."""

from __future__ import annotations

import csv
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from transformers import PreTrainedTokenizerFast

from loreline.client import RankingClient
from loreline.domain import Item
from services.cli.local_processes import LocalProcesses
from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry
from services.trainer.training.config import FOLDER as CONFIGS
from tests.tiny_language_models import tiny_language_model, word_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
WORDS = {
    "gift-cards": ["Birthday", "Coffee", "Store", "Movie"],
    "magazines": ["Garden", "Science", "Travel", "Kitchen"],
    "digital-music": ["Piano", "Rock", "Evening", "Choir"],
}
PROMPT = "Scenario : . User liked , oldest first Candidate product title ; unknown nothing yet number - user"


def section() -> list[str]:
    """The two blocks of commands of the section."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [block for block in blocks if "multi-domain" in block and "loreline rank" in block]


def write_reviews(folder: Path, domains: list[str]) -> None:
    """Eight products and 160 reviews of each domain; even products are liked, mostly."""
    folder.mkdir(exist_ok=True)
    chance = random.Random(5)
    with (folder / "items.csv").open("w") as products, (folder / "interactions.csv").open("w") as log:
        items, reviews = csv.writer(products), csv.writer(log)
        items.writerow(["domain", "item_id", "title", "brand", "price", "category", "description"])
        reviews.writerow(["domain", "user_id", "item_id", "rating", "timestamp"])
        for domain in domains:
            for n in range(8):
                word = WORDS[domain][n % 4]
                items.writerow([domain, f"{domain}-{n}", f"{word} number {n}", "", 5 + n, f"{domain} > {word}", ""])
            for n in range(160):
                product, rating = chance.randrange(8), 5 if chance.random() < 0.8 else 2
                rating = rating if product % 2 == 0 else 7 - rating
                user = f"{domain}-user-{chance.randrange(12)}"
                reviews.writerow([domain, user, f"{domain}-{product}", rating, 1_600_000_000 + n * 3600])


def write_config(folder: Path) -> Path:
    """The shipped config over a BERT of two layers with random weights."""
    tiny_language_model("bert").save_pretrained(folder / "tiny")
    words = [*PROMPT.split(), *[word for group in WORDS.values() for word in group], *map(str, range(10))]
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(words), **named)
    tokenizer.save_pretrained(folder / "tiny")
    shipped = yaml.safe_load((CONFIGS / "unictr.yaml").read_text())
    changes = {"language_model": str(folder / "tiny"), "ladder_every": 1, "max_tokens": 60, "epochs": 1}
    path = folder / "unictr.yaml"
    path.write_text(yaml.safe_dump(shipped | changes))
    return path


class Shell:
    """Runs blocks of commands in a folder that looks like the project's root, with one home for all."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, CliSettings(home=folder / "home", preferred_ports=False)
        (folder / "services").symlink_to(ROOT / "services")
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LORELINE_CLI_HOME": str(self.settings.home),
            "LORELINE_CLI_PREFERRED_PORTS": "false",
            "LORELINE_SCENARIO_DIRECTORY": str(folder / "scenarios"),
        }

    def run(self, block: str) -> str:
        """What the commands printed; the first that fails fails the test with its words."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    list(LocalProcesses(shell.settings).stop())


def test_the_lines_of_the_docs_add_a_scenario_and_rank_it(shell: Shell) -> None:
    """First by the general network, then by its own, over gRPC; the others' networks stay byte for byte."""
    first, second = section()
    config, reviews = write_config(shell.folder), shell.folder / "reviews"
    write_reviews(reviews, ["gift-cards", "magazines"])
    said = shell.run(first.replace("--config unictr", f"--config {config}"))
    assert "version 1 is active; it reads texts, with networks for gift-cards, magazines and a general one" in said
    assert "its general one ranked" not in said

    write_reviews(reviews, list(WORDS))
    said = shell.run(second)
    assert said.count("version 1 has no network for digital-music: its general one ranked") == 1
    assert "version 2 is active; it reads texts, with networks for gift-cards, magazines, digital-music" in said
    assert_files_stayed(ModelRegistry(shell.settings.model_registry))
    with RankingClient(LocalProcesses(shell.settings).address("ranking"), timeout_seconds=100) as ranking:
        assert_routes(ranking)


def assert_files_stayed(registry: ModelRegistry) -> None:
    before, after = (registry.manifest(version).file_hashes for version in ("1", "2"))
    assert after.keys() - before.keys() == {"network-digital-music.onnx", "golden-digital-music.npz"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"prompts.json"}


def assert_routes(ranking: RankingClient) -> None:
    """Each scenario by its own network, one without a file by the general one, the version before by request."""
    products = [f"digital-music-{n}" for n in range(8)]
    own = ranking.rank("digital-music-user-3", "digital-music", products)
    before = ranking.rank("digital-music-user-3", "digital-music", products, model_version="1")
    assert (own.scenario_route, own.model_version) == ("KNOWN", "2")
    assert (before.scenario_route, before.model_version, before.assignment) == ("GENERAL", "1", "pinned")
    assert not np.array_equal(sorted(own.scores), sorted(before.scores))
    other = ranking.rank("magazines-user-3", "magazines", ["magazines-0", "magazines-1"])
    same = ranking.rank("magazines-user-3", "magazines", ["magazines-0", "magazines-1"], model_version="1")
    assert other.scenario_route == "KNOWN"
    np.testing.assert_array_equal(other.scores, same.scores)
    strange = ranking.rank(
        "new", "opera", [], inline_items=[Item("aida", "opera", "Aida"), Item("tosca", "opera", "Tosca")]
    )
    assert (strange.scenario_route, len(strange.item_ids)) == ("GENERAL", 2)
