"""Prompts as token ids that fit a language model, cut where it harms least. NumPy and tokenizers alone, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from services.ctr.uni_ctr.prompts import PromptParts, Segment

Integers = npt.NDArray[np.int64]
PADDING_TOKENS = ("[PAD]", "<pad>", "<|padding|>", "<|endoftext|>", "</s>")
LONGEST_ID_TOKENS = 32  # an id keeps its end, where ids differ
PROBE = "a"


class EncodedPrompts(NamedTuple):
    """B prompts, padded on the right to the T tokens of the longest; a padding token's mask is 0."""

    input_ids: Integers  # (B, T)
    attention_mask: Integers  # (B, T)
    user_tokens: Integers  # (B,) how many tokens come before the candidate's, special ones included
    history_cut: Integers  # (B,) how many history entries had no room
    candidate_cut: Integers  # (B,) how many tokens the candidate's fields had to give up


class PromptEncoder:
    """Encodes prompts with at most `max_tokens` tokens, special ones included.

    Each part is encoded by itself, so a user's tokens are the same before any candidate. What is too long loses its
    oldest history first. The candidate is cut only if it does not fit without any history: then its longest value
    loses its end, down to one token, then the next. An id of more than 32 tokens keeps the last ones. The tokenizer
    is copied; its own truncation and padding are not used.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # a title that says [SEP] is text like any other
        self._before, self._after = _special_tokens(self._tokenizer)
        self.padding_id = next(filter(None, map(self._tokenizer.token_to_id, PADDING_TOKENS)), 0)

    def encode(self, prompts: Sequence[PromptParts], same_user: bool = False) -> EncodedPrompts:
        """Encode one or more prompts.

        With `same_user` they are candidates for one user, and all keep the history for which the longest candidate
        leaves room: so their first `user_tokens` are equal. Raises ValueError when there is no prompt, when the
        prompts of `same_user` differ before the candidate, or when `max_tokens` has no room for the fixed words.
        """
        if not prompts:
            raise ValueError("prompts: must hold at least one")
        if same_user and len(set(map(_user, prompts))) > 1:
            raise ValueError("prompts: must have one opening and one history to be those of the same user")
        tokens = self._tokens(_texts(prompts))
        rows = [_Row.of(parts, tokens) for parts in prompts]
        room = self.max_tokens - len(self._before) - len(self._after)
        for row in rows:
            row.fit_candidate(room)
        longest = max(len(row.candidate_tokens) for row in rows) if same_user else 0
        for row in rows:
            row.fit_history(room - max(longest, len(row.candidate_tokens)))
        return self._padded(rows)

    def _tokens(self, texts: Iterable[str]) -> dict[str, list[int]]:
        distinct = list(dict.fromkeys(texts))
        encodings = self._tokenizer.encode_batch(distinct, add_special_tokens=False)
        return {text: encoding.ids for text, encoding in zip(distinct, encodings, strict=True)}

    def _padded(self, rows: Sequence[_Row]) -> EncodedPrompts:
        sequences = [[*self._before, *row.user_tokens, *row.candidate_tokens, *self._after] for row in rows]
        lengths = np.array([len(sequence) for sequence in sequences])
        mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
        ids = np.full(mask.shape, self.padding_id, dtype=np.int64)
        ids[mask] = np.concatenate(sequences)
        return EncodedPrompts(
            ids,
            mask.astype(np.int64),
            np.array([len(self._before) + len(row.user_tokens) for row in rows]),
            np.array([row.history_cut for row in rows]),
            np.array([row.candidate_cut for row in rows]),
        )


class _Row:
    """One prompt's tokens while it is made to fit."""

    def __init__(self, opening: list[int], history: list[list[int]], candidate: list[tuple[list[int], bool]]) -> None:
        self.opening, self.history, self.candidate = opening, history, candidate
        self.history_cut = self.candidate_cut = 0

    @classmethod
    def of(cls, parts: PromptParts, tokens: dict[str, list[int]]) -> _Row:
        """The whole prompt; of the candidate's pieces those marked True may be cut."""
        opening = [token for piece, _ in _pieces(parts.opening, tokens) for token in piece]
        return cls(opening, [tokens[entry] for entry in parts.history], _pieces(parts.candidate, tokens))

    @property
    def user_tokens(self) -> list[int]:
        return [*self.opening, *[token for entry in self.history for token in entry]]

    @property
    def candidate_tokens(self) -> list[int]:
        return [token for piece, _ in self.candidate for token in piece]

    def fit_candidate(self, room: int) -> None:
        """Shorten the candidate's longest values until it fits behind the opening."""
        over = len(self.opening) + len(self.candidate_tokens) - room
        while over > 0:
            values = [piece for piece, may_be_cut in self.candidate if may_be_cut and len(piece) > 1]
            if not values:
                raise ValueError(f"max_tokens: {over} too few for the words around a candidate, the domain's and ids")
            longest = max(values, key=len)
            second = sorted(map(len, values))[-2] if len(values) > 1 else 1
            less = min(over, max(1, len(longest) - second))
            del longest[-less:]
            over, self.candidate_cut = over - less, self.candidate_cut + less

    def fit_history(self, room: int) -> None:
        """Leave the oldest entries out until opening and history fit."""
        while self.history and len(self.user_tokens) > room:
            self.history, self.history_cut = self.history[1:], self.history_cut + 1


def _user(parts: PromptParts) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    return parts.opening, parts.history


def _texts(prompts: Sequence[PromptParts]) -> Iterable[str]:
    for parts in prompts:
        yield from parts.history
        for words, value, _ in (*parts.opening, *parts.candidate):
            yield from (words, value)


def _pieces(segments: Sequence[Segment], tokens: dict[str, list[int]]) -> list[tuple[list[int], bool]]:
    pieces = []
    for words, value, is_id in segments:
        kept = tokens[value][-LONGEST_ID_TOKENS:] if is_id else tokens[value]
        pieces += [(list(tokens[words]), False), (list(kept), not is_id)]
    return pieces


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind a text."""
    whole, bare = tokenizer.encode(PROBE), tokenizer.encode(PROBE, add_special_tokens=False)
    start = whole.special_tokens_mask.index(0) if 0 in whole.special_tokens_mask else len(whole.ids)
    return whole.ids[:start], whole.ids[start + len(bare.ids) :]
