"""How far texts agree, and which of them is nearest the others."""

from __future__ import annotations

import numpy as np
import pytest

from services.knowledge.agreement import agreement, named_facts, overlap


def unit(*angles: float) -> np.ndarray:
    """Unit vectors in the plane, angles in degrees."""
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("A film by Jane Smith of 1994.", {"jane smith", "1994"}),
        ("Slow films please them. They like long talks.", set()),
        ('It recalls "The Quiet Bridge", and nothing else.', {"the quiet bridge"}),
        ("It was shot in the Isle of Man in 1815 and 3015.", {"isle of man", "1815"}),
        ("Kubrick made it. Everybody says that Kubrick was slow.", {"kubrick"}),
        ("Jane Smith wrote it; I like Jane.", {"jane smith", "jane"}),
        ("", set()),
    ],
)
def test_named_facts_are_names_years_and_quoted_titles(text: str, facts: set[str]) -> None:
    """A capital at the beginning of a sentence alone names nothing."""
    assert named_facts(text) == facts


def test_overlap_is_the_share_of_common_facts() -> None:
    """Two texts that name nothing agree; one that names something alone does not."""
    assert overlap(frozenset("ab"), frozenset("bc")) == pytest.approx(1 / 3)
    assert overlap(frozenset(), frozenset()) == 1.0
    assert overlap(frozenset("a"), frozenset()) == 0.0


def test_agreement_is_the_mean_of_cosine_and_overlap_over_pairs() -> None:
    """Checked against the sum written out."""
    texts = ["Shot by Jane Smith in 1994.", "Shot by Jane Smith in 1995.", "Shot by nobody we know."]
    found = agreement(texts, unit(0, 60, 90))
    cosines = [0.5, 0.0, np.cos(np.deg2rad(30))]
    overlaps = [1 / 3, 0.0, 0.0]
    assert found.score == pytest.approx(np.mean([np.mean(cosines), np.mean(overlaps)]), abs=1e-6)
    assert found.medoid == 1


def test_equal_texts_agree_fully_and_the_first_is_kept() -> None:
    """The greedy sample comes first."""
    found = agreement(["Shot in 1994."] * 3, unit(10, 10, 10))
    assert found.score == pytest.approx(1.0)
    assert found.medoid == 0


def test_opposite_texts_do_not_agree_less_than_not_at_all() -> None:
    """The score stays between 0 and 1."""
    assert agreement(["By Ann Lee.", "By Bob Day."], unit(0, 180)).score == 0.0


def test_an_outlier_is_never_kept() -> None:
    """The kept text is the one nearest the others, wherever it stands."""
    for place in range(4):
        angles = [0.0, 5.0, 9.0]
        angles.insert(place, 80.0)
        assert agreement([""] * 4, unit(*angles)).medoid != place
