"""Rules of dividing texts into batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embedding.batching import length_batches

LENGTHS = st.lists(st.integers(0, 300), max_size=80)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 2000))
def test_every_text_is_in_one_batch_within_the_bounds(lengths: list[int], texts: int, tokens: int) -> None:
    """Few enough texts, few enough tokens with padding unless a text is alone, and the longest texts first."""
    batches = list(length_batches(lengths, texts, tokens))
    rows = [row for batch in batches for row in batch.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths, reverse=True)
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) <= texts
        assert len(batch) == 1 or len(batch) * longest <= tokens


@pytest.mark.parametrize(("tokens", "sizes"), [(40, [1, 4, 2]), (39, [1, 3, 3]), (9, [1] * 7)])
def test_a_batch_takes_as_many_texts_as_fit(tokens: int, sizes: list[int]) -> None:
    """One text more would break the bound."""
    batches = list(length_batches([10, 10, 50, 10, 10, 10, 10], 32, tokens))
    assert [len(batch) for batch in batches] == sizes


def test_batches_of_mixed_lengths_are_mostly_text() -> None:
    """Lengths as texts have them: a tenth of what is computed is padding where batches of equal counts had a third."""
    lengths = np.clip(np.random.default_rng(1).lognormal(4.0, 0.8, 200).astype(int), 3, 256).tolist()
    computed = sum(len(batch) * max(lengths[row] for row in batch) for batch in length_batches(lengths, 32, 384))
    assert 1 - sum(lengths) / computed < 0.1
