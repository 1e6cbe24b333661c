"""Finds what a text says of an item although the item's own attributes deny it: its year, and who made it.

Made to be right when it speaks, not to find everything. Only explicit claims in English count, such as "released in
1987" or "directed by X", and only where nothing in the sentence points at another work. One claim that fits speaks for
the text: then no other claim of the kind is held against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loreline.domain import AttributeValue, Item
from services.knowledge.names import agrees, names_in
from services.knowledge.text_checks import SuspectText, sentences
from services.scenarios import Scenario

YEARS_APART = 1  # a film may open in one year and come to the next country in another
_YEAR = re.compile(r"\b(1[5-9]\d\d|20\d\d)\b")
_TITLE_YEAR = re.compile(r"\s*\(\d{4}\)$")
# a sentence with one of these may speak of another work, or of another edition of this one
_OTHER_WORK = re.compile(
    r"\b(?:sequels?|prequels?|remakes?|remade|reboots?|original(?:ly)?|follow(?:ed|s|-up)|adapt\w*|based|inspired|versions?"
    r"|re-?(?:releas|issu|master|publish|stor|print|record)\w*|editions?|anniversary|dvd|blu-ray|soundtrack|covers?"
    r"|like|unlike|similar|compar\w+|recall\w*|reminiscent|echo\w*|influenc\w*|fans|style|tradition|homage|tribute"
    r"|foreword|introduc\w+ by|preface|afterword|illustrat\w*|translat\w*|narrat\w*|screenplay|script|score|lyrics"
    r"|earlier|later|previous\w*|another|other|others|trilogy|series|franchise|predecessor|successor|than|not|never)\b",
    re.IGNORECASE,
)
# whoever it is called, then the name; a small word after it would make an adjective of it: "made by Italian hands"
_NAME = (
    r"(?:(?:[\w-]+ ){0,3}(?:director|filmmaker|author|novelist|writer|artist|singer|band|company) )?"
    r"([A-Z][\w'\u2019-]*(?:,? (?:and |& )?(?:(?:de|del|der|den|di|da|du|la|le|van|von|al|bin|of|the) ){0,2}"
    r"[A-Z][\w'\u2019-]*)*)"
    r"(?=[.,;:!?)\u201d\"]|$| (?:in|and|for|with|to|as|since|who|which|that|is|was|has|from)\b)"
)
_INITIAL = re.compile(r"\b([A-Z])\.")


@dataclass(frozen=True)
class _Making:
    """How texts speak of a kind of work: what it is called, how it came out, and the words before its maker's name."""

    nouns: str
    came_out: str
    made_by: str


_MAKINGS = {
    "director": _Making(
        "film|movie|picture",
        "released|premiered|came out|made",
        r"directed(?: and (?:\w+ )?(?:written|produced|edited))? by|(?:by|from) (?:the )?director",
    ),
    "author": _Making(
        "book|novel",
        "published|released|came out",
        r"(?:written|authored|penned) by|(?:by|from) the (?:author|novelist|writer)|\b(?:an?|the|this) novel by",
    ),
    "artist": _Making(
        "album|record",
        "released|issued|came out",
        r"\b(?:album|record) by|by the (?:artist|band|singer|group|duo|rapper)",
    ),
    "brand": _Making(
        "product",
        "released|launched|introduced|came out",
        r"\bmade by|(?:by|from) the brand|\b(?:a|the|this) product (?:by|from|of)",
    ),
    "developer": _Making(
        "app|game",
        "released|launched|came out",
        r"\bdeveloped by|(?:by|from) the developers?|\b(?:an|the|this) (?:app|game) (?:by|from)",
    ),
}


def check_facts(text: str, item: Item, scenario: Scenario) -> None:
    """Raises SuspectText when the text denies one of the attributes that the scenario's `facts` name."""
    for role, attribute in scenario.facts.items():
        value = item.attributes.get(attribute)
        if value is None or value == []:
            continue
        claims = list(_claims(role, text, item, scenario))
        fits = _fits_year(value) if role == "year" else _fits_name(value)
        if claims and not any(fits(claim) for claim in claims):
            raise SuspectText(
                "CONTRADICTION", f"the text names another {role} than the item", text, f"the text says {claims[0]}"
            )


def _claims(role: str, text: str, item: Item, scenario: Scenario) -> Iterator[str]:
    find = _year_claims if role == "year" else _maker_claims
    makings = _makings(scenario) if role == "year" else [_MAKINGS[role]]
    for sentence in sentences(_INITIAL.sub(r"\1", text)):  # the point of an initial ends no sentence
        line = sentence.strip()
        if not _OTHER_WORK.search(_without_title(line, item)):
            for making in makings:
                yield from find(line, making, item)


def _makings(scenario: Scenario) -> list[_Making]:
    return [_MAKINGS[role] for role in scenario.facts if role in _MAKINGS] or list(_MAKINGS.values())


def _year_claims(sentence: str, making: _Making, item: Item) -> Iterator[str]:
    title = re.escape(_bare_title(item))
    subject = rf"(?:it|this|(?:the|this) (?:{making.nouns})|[\"\u201c]?{title}[\"\u201d]?)"
    when = r"(?: \w+){0,3}? in (?:(?:early|mid|late|the|spring|summer|autumn|fall|winter|of|[A-Z][a-z]+)[ -]){0,3}"
    patterns = (
        rf"^{subject},? (?:was |is |were )?(?:first |\w+ly )?(?:{making.came_out}){when}(\d{{4}})\b",
        rf"^(?:first )?(?:{making.came_out}){when}(\d{{4}})\b[^,]{{0,60}}, {subject}\b",
        rf"^{subject} (?:is|was) an? (?:[\w-]+ ){{0,2}}?(\d{{4}}) (?:[\w-]+ ){{0,4}}?(?:{making.nouns})\b",
        rf"^this (\d{{4}}) (?:[\w-]+ ){{0,3}}?(?:{making.nouns})\b",
        rf"^[\"\u201c]?{title}[\"\u201d]? \((\d{{4}})\)",
    )
    for pattern in patterns:
        for match in re.finditer(pattern, sentence, re.IGNORECASE):
            yield match[1]


def _maker_claims(sentence: str, making: _Making, _item: Item) -> Iterator[str]:
    of_several = rf"(?:{making.nouns})s (?:\w+ )?$"
    for match in re.finditer(rf"(?i:{making.made_by}) {_NAME}", sentence):
        if not re.search(of_several, sentence[: match.start()], re.IGNORECASE):
            yield match[1]


def _fits_year(value: AttributeValue) -> Callable[[str], bool]:
    found = _YEAR.search(str(int(value)) if isinstance(value, float | int) else str(value))
    return lambda claim: found is None or abs(int(claim) - int(found[1])) <= YEARS_APART


def _fits_name(value: AttributeValue) -> Callable[[str], bool]:
    known = [name for one in (value if isinstance(value, list) else [str(value)]) for name in names_in(one)]
    return lambda claim: any(agrees(said, name) for said in names_in(claim) for name in known)


def _bare_title(item: Item) -> str:
    return _TITLE_YEAR.sub("", item.title)


def _without_title(sentence: str, item: Item) -> str:
    return re.sub(re.escape(_bare_title(item)), " ", sentence, flags=re.IGNORECASE)
