"""How far several texts about the same subject agree: in what they mean, and in the facts that they name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.knowledge.text_checks import sentences

_YEAR = re.compile(r"\b(?:1[5-9]|20)\d{2}\b")
_QUOTED = re.compile('["\u201c\u00ab]([^"\u201d\u00bb]{2,80})["\u201d\u00bb]')
_NAME = re.compile(r"[A-Z][\w'\u2019]*(?:[ -](?:(?:of|the|de|van|von|da|di|la|le) )?[A-Z][\w'\u2019]*)*")
_ARTICLE = re.compile(r"^(?:the|a|an) ")
_PRONOUN = "I"


@dataclass(frozen=True)
class Agreement:
    """`score` 0 to 1 of all pairs; `medoid` is the index of the text nearest the others, the first of equals."""

    score: float
    medoid: int


def agreement(texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> Agreement:
    """The agreement of at least two texts and their unit vectors (N, K).

    A pair's agreement is the mean of its cosine, at least 0, and of the overlap of named facts (Jaccard index). The
    score is the mean over pairs.
    """
    cosines = np.clip(vectors @ vectors.T, 0.0, 1.0)  # (N, N)
    pairs = (cosines + _overlaps([named_facts(text) for text in texts])) / 2
    np.fill_diagonal(pairs, 0.0)
    nearness = pairs.sum(axis=1)  # (N,)
    count = len(texts)
    return Agreement(float(pairs.sum() / (count * (count - 1))), int(np.argmax(np.round(nearness, 6))))


def named_facts(text: str) -> frozenset[str]:
    """Names, years and quoted titles that a text states, in small letters.

    A capital at the beginning of a sentence is no sign of a name: a word there counts only where more capitals follow
    it, or where the text writes it with a capital elsewhere too.
    """
    quoted = {found.strip(" ,.;:").casefold() for found in _QUOTED.findall(text)}
    facts, unsure = set(_YEAR.findall(text)) | quoted, set[str]()
    for sentence in sentences(_QUOTED.sub(" ", text)):
        for match in _NAME.finditer(sentence):
            name = _ARTICLE.sub("", match.group().casefold())
            begins = not sentence[: match.start()].strip(" \"'(\u201c\u2018")
            if match.group() != _PRONOUN:
                (unsure if begins and " " not in name else facts).add(name)
    words = {word for fact in facts for word in fact.split()}
    return frozenset(facts | {name for name in unsure if name in words})


def overlap(first: frozenset[str], second: frozenset[str]) -> float:
    """Jaccard index of two sets of facts, 0 to 1; two texts that name nothing agree in that."""
    either = first | second
    return len(first & second) / len(either) if either else 1.0


def _overlaps(facts: Sequence[frozenset[str]]) -> npt.NDArray[np.float64]:
    return np.array([[overlap(first, second) for second in facts] for first in facts])
