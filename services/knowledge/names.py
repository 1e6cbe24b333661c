"""Whether two spellings may be the same person's or company's name. In doubt they may."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher

ALIKE = 0.75  # Dostoevsky and Dostoyevsky, but not Lynch and Fincher
_SEPARATOR = re.compile(r"\s*(?:,|;|/|&|\band\b|\bwith\b)\s*")
_WORD = re.compile(r"[a-z0-9]+")
_SAYS_NOTHING = {
    "the", "of", "de", "del", "der", "den", "di", "da", "du", "la", "le", "van", "von", "jr", "sr", "ii", "iii",
    "inc", "ltd", "llc", "co", "corp", "corporation", "company", "gmbh", "studios", "studio", "games", "entertainment",
    "group", "international", "limited", "brand", "dr", "sir",
}  # fmt: skip
_NOBODY = {"unknown", "various", "anonymous", "none", "na", "n", "artists", "authors", "generic", "unbranded"}


def names_in(text: str) -> list[str]:
    """The names of an enumeration: "A, B and C" has three."""
    return [part for part in _SEPARATOR.split(text) if part]


def agrees(said: str, known: str) -> bool:
    """Whether a name that a text says may be the known one: case, accents, initials, order and small slips allow it.

    A name that cannot be compared, of another script or of nobody, agrees with every other.
    """
    first, second = _words(said), _words(known)
    if not first or not second or _NOBODY & {*first, *second}:
        return True
    return _last_is_in(first, second) or _last_is_in(second, first) or _same_letters(first, second)


def _words(name: str) -> list[str]:
    """Small letters without accents, without initials and what any name may hold; that too, where nothing else is."""
    plain = unicodedata.normalize("NFKD", name.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}s", ""))
    words = _WORD.findall("".join(c for c in plain.removesuffix("'s") if not unicodedata.combining(c)))
    longer = [word for word in words if len(word) > 1]
    return [word for word in longer if word not in _SAYS_NOTHING] or longer


def _last_is_in(name: list[str], other: list[str]) -> bool:
    return any(SequenceMatcher(None, name[-1], word).ratio() >= ALIKE for word in other)


def _same_letters(first: list[str], second: list[str]) -> bool:
    """MegaCorp and Mega Corp; HP and Hewlett Packard."""
    one, other = "".join(first), "".join(second)
    initials = {"".join(word[0] for word in first), "".join(word[0] for word in second)}
    return one in other or other in one or bool({one, other} & initials)
