"""What a text says of an item although the item's attributes deny it."""

from __future__ import annotations

from typing import Any

import pytest

from loreline.domain import Item
from services.knowledge.contradictions import check_facts
from services.knowledge.names import agrees
from services.knowledge.text_checks import SuspectText
from services.scenarios import load_scenario

FILM: dict[str, Any] = {"year": 1994, "director": ["Ana Lima", "Jean-Luc Dupré"]}


def check(text: str, scenario: str = "movies", title: str = "Night Train (1994)", **attributes: Any) -> None:
    """Check a text about an item of a scenario."""
    check_facts(text, Item("1", scenario, title, attributes or FILM), load_scenario(scenario))


DENIED = [
    "It was released in 1987.",
    "The film premiered in 1987 to little notice.",
    "A quiet story. Night Train was first released in the spring of 1987 and soon forgotten.",
    "Released in 1987, the film tells of two strangers.",
    "Night Train is a 1987 American drama film about two strangers.",
    "This 1987 film is about two strangers.",
    '"Night Train" (1987) is about two strangers on a journey.',
    "It is a slow drama directed by David Lynch.",
    "The drama, directed by Ridley Scott and David Lynch, takes its time.",
    "It is written and directed by acclaimed filmmaker David Lynch.",
    "A work from director David Lynch, it takes its time.",
    "It was directed by J. J. Abrams, who takes his time.",
]


@pytest.mark.parametrize("text", DENIED)
def test_an_explicit_claim_that_the_attributes_deny_makes_a_suspect(text: str) -> None:
    """With the claim as evidence beside the reason, and not in it."""
    with pytest.raises(SuspectText) as found:
        check(text)
    assert found.value.reason == "CONTRADICTION"
    assert found.value.text == text
    assert found.value.evidence
    assert found.value.evidence not in str(found.value)


ALLOWED = [
    "It was released in 1994.",
    "It was released in 1995.",
    "It was released in 1994 at home. It was released in 1998 in Japan.",
    "Set in 1987, the film tells of two strangers.",
    "The story takes place in 1987.",
    "It is a remake of the 1962 film directed by Carol Reed.",
    "Its sequel, directed by David Lynch, was released in 1999.",
    "It was restored and re-released in 2015.",
    "The novel was published in 1950.",
    "It is based on a story written by Graham Greene.",
    "Viewers of films directed by David Lynch will feel at home.",
    "It recalls Vertigo, which was directed by Alfred Hitchcock.",
    "It is a slow drama directed by Ana Lima.",
    "It is a slow drama directed by A. Lima.",
    "It is a slow drama directed by LIMA.",
    "It was directed by Jean Luc Dupre.",
    "It was directed by Ridley Scott and Ana Lima.",
    "It was directed with a steady hand by someone who loves trains.",
    "It was made by Italian craftsmen and directed by hand.",
    "Night Train was directed by J. L. Dupré in 1987.",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_what_may_be_right_or_be_about_another_work_is_let_pass(text: str) -> None:
    """The guard would rather miss a lie than take a true text away."""
    check(text)


@pytest.mark.parametrize(
    ("scenario", "attributes", "denied", "allowed"),
    [
        ("books", {"author": "J. R. R. Tolkien"}, "It was written by C. S. Lewis.", "It was written by JRR Tolkien."),
        ("books", {"author": "Fyodor Dostoevsky"}, "It is by the author Leo Tolstoy.", "A novel by F. Dostoyevsky."),
        ("books", {"author": "Stephen King", "year": 2004}, "A novel by Dean Koontz.", "It was published in 1977."),
        ("music", {"artist": "The Beatles", "year": "1966"}, "It is an album by The Kinks.", "An album by Beatles."),
        ("music", {"artist": "Simon & Garfunkel"}, "A record by Bob Dylan.", "A record by Paul Simon."),
        ("retail", {"brand": "Hewlett-Packard"}, "It is made by Epson.", "It is made by HP."),
        ("retail", {"brand": "Sony Corporation"}, "A speaker made by Bose in Mexico.", "It is made by Sony."),
        ("apps", {"developer": "MegaCorp Games"}, "It was developed by Tiny Studio.", "It was developed by Mega Corp."),
    ],
)
def test_each_scenario_checks_who_made_the_item(
    scenario: str, attributes: dict[str, Any], denied: str, allowed: str
) -> None:
    """Author, artist, brand and developer, as the scenario's file names their attributes."""
    check(allowed, scenario, "Thing", **attributes)
    with pytest.raises(SuspectText):
        check(denied, scenario, "Thing", **attributes)


@pytest.mark.parametrize("value", [None, [], "Unknown", "Various Artists", "宮崎 駿"])
def test_an_attribute_that_cannot_be_compared_is_not_held_against_a_text(value: Any) -> None:
    """Missing, nobody's name, or in another script."""
    check("It was directed by David Lynch.", director=value, year=None)


def test_an_item_of_a_scenario_without_facts_is_not_checked() -> None:
    """News has none."""
    check("It was released in 1987 and directed by David Lynch.", "news", year=1994, director="Ana Lima")


@pytest.mark.parametrize(
    ("said", "known", "may_be"),
    [
        ("Lynch", "David Lynch", True),
        ("David Lynch", "David Fincher", False),
        ("Kurosawa Akira", "Akira Kurosawa", True),
        ("Martin Luther King Jr.", "Martin Luther King", True),
        ("Pedro Almodovar", "Pedro Almodóvar", True),
        ("S. Spielberg's", "Steven Spielberg", True),
        ("J. J.", "Jeffrey Jacob Abrams", True),
        ("Spielburg", "Spielberg", True),
    ],
)
def test_two_spellings_of_one_name_agree(said: str, known: str, may_be: bool) -> None:
    """Initials, accents, order, suffixes and slips; another surname does not."""
    assert agrees(said, known) is may_be
