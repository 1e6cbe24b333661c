"""Scenarios from YAML: the shipped one, one's own, and wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from loreline.domain import Item
from services.scenarios import InvalidScenario, UnknownScenario, load_scenario, scenario_names

SHIPPED = resources.files("services.scenarios") / "movies.yaml"
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the shipped scenario with changes under another name into one's own folder."""
    monkeypatch.setenv("LORELINE_SCENARIO_DIRECTORY", str(tmp_path))
    load_scenario.cache_clear()

    def put(file_name: str, **changes: Any) -> None:
        document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8")) | {"name": file_name} | changes
        kept = {key: value for key, value in document.items() if value is not ...}
        (tmp_path / f"{file_name}.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")

    yield put
    load_scenario.cache_clear()


def test_the_shipped_scenario_is_whole() -> None:
    """Ratings, fields, factors, and four versioned prompts."""
    movies = load_scenario("movies")
    assert movies.minimum_rating < movies.positive_above < movies.maximum_rating
    assert [field.name for field in movies.item_fields] == ["genre", "decade"]
    assert len(movies.factors) >= 5
    prompts = [movies.item_prompt, movies.user_prompt, movies.grounded_item_prompt, movies.grounded_user_prompt]
    assert all(prompt.version >= 1 and prompt.system and prompt.user for prompt in prompts)


def test_every_shipped_scenario_loads() -> None:
    """Whatever is added to the folder."""
    assert {"apps", "books", "movies", "music", "news", "retail"} <= set(scenario_names())
    assert [load_scenario(name).name for name in scenario_names()] == scenario_names()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"genres": ["Drama", "War"], "year": 1994}, ["Drama", "1990"]),
        ({"genres": "Drama", "year": "1994"}, ["Drama", "1990"]),
        ({"genres": [], "year": None}, ["", ""]),
        ({}, ["", ""]),
        ({"year": "unknown"}, ["", ""]),
        ({"year": float("inf")}, ["", ""]),
        ({"year": float("nan")}, ["", ""]),
        ({"year": 2000.0}, ["", "2000"]),
        ({"year": [1987.0]}, ["", "1980"]),
    ],
)
def test_fields_are_made_of_attributes(attributes: dict[str, Any], expected: list[str]) -> None:
    """Unknown is empty, never an error."""
    assert load_scenario("movies").field_values(Item("1", "movies", "Night Train", attributes)) == expected


@pytest.mark.parametrize("name", scenario_names())
def test_every_shipped_scenario_has_its_own_words(name: str) -> None:
    """Enough distinct factors, and no prompt that another scenario has too."""
    scenario = load_scenario(name)
    others = [load_scenario(other) for other in scenario_names() if other != name]
    assert 5 <= len(set(scenario.factors)) == len(scenario.factors)
    for kind in ("item", "user", "item_cluster", "user_cluster", "grounded_item", "grounded_user"):
        words = getattr(scenario, f"{kind}_prompt").user
        assert words not in [getattr(other, f"{kind}_prompt").user for other in others]


@pytest.mark.parametrize(
    ("name", "above"), [("books", 4), ("music", 3), ("apps", 3), ("news", 0.5), ("retail", 3), ("movies", 3)]
)
def test_shipped_scenarios_say_what_a_positive_label_is(name: str, above: float) -> None:
    """A rating above it counts as liked."""
    assert load_scenario(name).positive_above == above


@pytest.mark.parametrize(
    ("price", "band"),
    [
        (12.5, "8-16"),
        (8.0, "8-16"),
        ("16", "16-32"),
        (0.3, "0.25-0.5"),
        (0.0, ""),
        (-1.0, ""),
        (float("inf"), ""),
        (float("nan"), ""),
        (1.7e308, ""),
        ("cheap", ""),
        (None, ""),
    ],
)
def test_prices_fall_into_bands_of_powers_of_two(price: Any, band: str) -> None:
    """A band holds its lower bound; what has no band is unknown."""
    item = Item("1", "retail", "Kettle", {"brand": "Acme", "categories": ["Kitchen"], "price": price})
    assert load_scenario("retail").field_values(item) == ["Acme", "Kitchen", band]


def test_facts_and_threshold_may_be_left_out(write: Write) -> None:
    """Then nothing is held against a text, and the process' threshold counts."""
    write("plain", facts=...)
    plain = load_scenario("plain")
    assert (plain.facts, plain.minimum_agreement) == ({}, None)
    write("strict", facts={"year": "made_in"}, minimum_agreement=1)
    strict = load_scenario("strict")
    assert (strict.facts, strict.minimum_agreement) == ({"year": "made_in"}, 1.0)


def test_a_scenario_without_cluster_prompts_loads(write: Write) -> None:
    """Only collective knowledge needs them."""
    prompts = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["prompts"]
    write("plain", prompts={name: prompt for name, prompt in prompts.items() if "cluster" not in name})
    assert load_scenario("plain").item_cluster_prompt is None


@pytest.mark.parametrize("name", ["nonsense", "", "../movies", "movies.yaml", "/etc/passwd"])
def test_an_unknown_scenario_lists_those_there_are(name: str) -> None:
    """A name is never a path."""
    with pytest.raises(UnknownScenario, match="movies"):
        load_scenario(name)


def test_a_scenario_of_ones_own_is_found(write: Write) -> None:
    """Beside the shipped ones."""
    write("games", description="Games.", rating={"minimum": 0, "maximum": 10, "positive_above": 6})
    games = load_scenario("games")
    assert {"games", "movies"} <= set(scenario_names())
    assert (games.description, games.maximum_rating, games.positive_above) == ("Games.", 10.0, 6.0)


def test_ones_own_folder_comes_before_the_shipped_one(write: Write) -> None:
    """So that the shipped scenario can be replaced."""
    write("movies", factors=["plot"])
    assert load_scenario("movies").factors == ("plot",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "other"}, "name"),
        ({"factors": []}, "factors"),
        ({"factors": ...}, "factors"),
        ({"item_fields": []}, "item_fields"),
        ({"item_fields": [{"name": "x", "attribute": "y", "transform": "guess"}]}, "guess"),
        ({"item_fields": [{"name": "x", "attribute": "y"}]}, "transform"),
        ({"rating": {"minimum": "low", "maximum": 5, "positive_above": 3}}, "rating.minimum: .*'low'"),
        ({"rating": ...}, "rating"),
        ({"prompts": {}}, "item"),
        ({"rating": {"minimum": 5, "maximum": 1, "positive_above": 3}}, "rating"),
        ({"factors": "genre, mood"}, "factors"),
        ({"facts": {"colour": "colour"}}, "facts: must be of year, director"),
        ({"facts": ["year"]}, "facts: .*valid dictionary"),
        ({"facts": {"year": 1994}}, "facts.year: .*is 1994"),
        ({"facts": {"year": ""}}, "facts: must name an attribute"),
        ({"facts": {"dirctor": "director"}}, "did you mean 'director'"),
        ({"minimum_agreeement": 0.5}, "minimum_agreeement: there is no such key; did you mean 'minimum_agreement'"),
        ({"rating": {"minimum": 1, "maximum": 5, "positive_abov": 3}}, "rating.positive_abov: .*'positive_above'"),
        (
            {"item_fields": [{"name": "x", "attribut": "y", "transform": "text"}]},
            "item_fields.0.attribut: .*'attribute'",
        ),
        ({"scorer": "unictrr"}, "scorer: must be one of .*did you mean 'unictr'"),
        ({"minimum_agreement": True}, "minimum_agreement: .*valid number"),
        ({"minimum_agreement": 1.5}, "minimum_agreement: .*less than or equal to 1, is 1.5"),
        ({"minimum_agreement": "high"}, "minimum_agreement: .*valid number, is 'high'"),
    ],
)
def test_a_wrong_scenario_names_file_and_field(write: Write, changes: dict[str, Any], words: str) -> None:
    """Whoever wrote it learns where to look."""
    write("broken", **changes)
    with pytest.raises(InvalidScenario, match=words) as invalid:
        load_scenario("broken")
    assert "broken.yaml" in str(invalid.value)


@pytest.mark.parametrize("place", ["item", "grounded_user"])
def test_a_misspelt_key_of_a_prompt_is_named_with_the_right_one(write: Write, place: str) -> None:
    """It would be passed over otherwise, and the prompt be another than the file says."""
    prompts = yaml.safe_load((resources.files("services.scenarios") / "movies.yaml").read_text())["prompts"]
    prompts[place]["opning"] = "This film"
    write("broken", prompts=prompts)
    with pytest.raises(
        InvalidScenario, match=rf"prompts\.{place}\.opning: there is no such key; did you mean 'opening'"
    ):
        load_scenario("broken")


@pytest.mark.parametrize("text", ["- just\n- a list\n", "name: [unclosed", "", "42"])
def test_a_file_that_is_no_scenario_is_invalid(tmp_path: Path, write: Write, text: str) -> None:
    """Not a crash of another kind."""
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(InvalidScenario, match=r"broken\.yaml"):
        load_scenario("broken")
