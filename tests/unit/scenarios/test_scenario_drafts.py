"""Scenario files that are written for a person to edit."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml

from services.knowledge.prompts import check_templates
from services.scenarios import InvalidScenario, load_scenario, scenario_names
from services.scenarios.drafts import new_scenario, source_of, with_factors

FACTORS = ["price", "look: colour and shape", "it's 100% new", "yes", "größe", "- dash", "7 wonders"]


@pytest.mark.parametrize("name", scenario_names())
def test_other_factors_change_nothing_else(name: str) -> None:
    """Comments, order and prompts of every shipped file stay, byte by byte."""
    source = source_of(name)
    assert source is not None
    changed = with_factors(source, FACTORS)
    assert yaml.safe_load(changed) == yaml.safe_load(source) | {"factors": FACTORS}
    lines = list(difflib.ndiff(source.splitlines(), changed.splitlines()))
    assert all(line[2:].startswith("  - ") for line in lines if line[0] in "+-")


@pytest.mark.parametrize(
    "old",
    [
        "factors: [a, b]\n",
        "factors: [a,\n  b]\n",
        "factors: [\n  a,\n  b,\n]\n",
        "factors:\n- a\n- b\n",
        "factors:\n  - a  # why\n\n  # more\n  - b\n",
        "factors:\n  - a\n",
    ],
)
def test_lists_of_every_layout_are_replaced(old: str) -> None:
    """What stands before and behind stays, comments of the next key too."""
    source = f"# head\nname: x\n{old}\n# about prompts\nprompts: {{}}\n"
    changed = with_factors(source, ["c", "d"])
    assert changed == "# head\nname: x\nfactors:\n  - c\n  - d\n\n# about prompts\nprompts: {}\n"


def test_factors_at_the_end_of_the_file_are_replaced() -> None:
    """With and without a last line feed."""
    assert with_factors("name: x\nfactors:\n  - a\n", ["c"]) == "name: x\nfactors:\n  - c\n"
    assert with_factors("name: x\nfactors:\n  - a", ["c"]) == "name: x\nfactors:\n  - c"


@pytest.mark.parametrize("source", ["name: x\n", "name: x\nnested:\n  factors: [a]\n", '"factors": [a]\n'])
def test_a_file_without_a_plain_list_is_left_alone(source: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidScenario, match="factors"):
        with_factors(source, ["c"])


@pytest.mark.parametrize("about", ["Games for a table, rated by players.", 'Say "yes": 50% off # really', "true"])
def test_a_draft_is_a_scenario_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: str) -> None:
    """All its templates render, and it says what it was told."""
    (tmp_path / "board_games.yaml").write_text(new_scenario("board_games", about, FACTORS), encoding="utf-8")
    monkeypatch.setenv("LORELINE_SCENARIO_DIRECTORY", str(tmp_path))
    load_scenario.cache_clear()
    scenario = load_scenario("board_games")
    check_templates(scenario)
    assert (scenario.description, scenario.factors) == (about, tuple(FACTORS))
    assert "board games" in scenario.item_prompt.user
    assert scenario.user_cluster_prompt is not None
    load_scenario.cache_clear()


def test_the_file_of_ones_own_folder_is_the_one_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins over the shipped one, here as in every process."""
    (tmp_path / "movies.yaml").write_text("name: movies\nfactors: [mine]\n", encoding="utf-8")
    monkeypatch.setenv("LORELINE_SCENARIO_DIRECTORY", str(tmp_path))
    assert source_of("movies") == "name: movies\nfactors: [mine]\n"
    assert source_of("nonsense") is None
