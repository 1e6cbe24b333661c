"""What a language model is told of a user and a candidate: the words, by domain. Knows neither torch nor tokens.

The user's part comes before the candidate's, so that all candidates of a user share a prefix: a decoder computes it
once (services.ctr.uni_ctr.prefix).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, NamedTuple, get_args

PromptMode = Literal["full", "id-and-name", "id-only"]
UNKNOWN = "unknown"
NOTHING = "nothing yet"
LONGEST_VALUE_CHARACTERS = 2000  # bounds the tokenizer's work; many times of what a prompt has room for


@dataclass(frozen=True)
class PromptItem:
    """What a catalogue says of an item: id, title, and further fields as text. Missing is "" or "nan"."""

    item_id: str
    title: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


class Segment(NamedTuple):
    """Fixed words, a value of the data behind them, and whether that value is an id, which is never cut short."""

    words: str
    value: str = ""
    is_id: bool = False


@dataclass(frozen=True)
class PromptParts:
    """One prompt in the order in which it is read; only `history` and the values of `candidate` may be cut."""

    opening: tuple[Segment, ...]
    history: tuple[str, ...]  # oldest first; never empty: what says that there is none is one entry
    candidate: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The whole prompt, for people."""
        segments = [f"{words}{value}" for words, value, _ in (*self.opening, *map(Segment, self.history))]
        return "".join([*segments, *[f"{words}{value}" for words, value, _ in self.candidate]])


@dataclass(frozen=True)
class Prompts:
    """Writes the prompts of one domain; arXiv 2312.10743, section IV-B, in words of our own.

    `full` says titles and `fields`, in their order; `id-and-name` says ids and what each is the id of; `id-only` says
    ids alone (the two ablations of the paper's table V). A field that an item lacks is said to be unknown.
    Raises ValueError for an unknown mode or a negative history length.
    """

    domain_text: str
    mode: PromptMode = "full"
    history_length: int = 5
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in get_args(PromptMode):
            raise ValueError(f"mode: must be one of {', '.join(get_args(PromptMode))}, is {self.mode!r}")
        if self.history_length < 0:
            raise ValueError(f"history_length: must be 0 or more, is {self.history_length}")

    def parts(self, user_id: str, history: Sequence[PromptItem], candidate: PromptItem) -> PromptParts:
        """The prompt for a candidate; `history` holds what the user liked, oldest first, and its end is used."""
        latest = history[max(0, len(history) - self.history_length) :]
        entries = tuple(self._entry(item) for item in latest) or (f" {NOTHING}",)
        return PromptParts(self._opening(user_id), entries, self._candidate(candidate))

    def _opening(self, user_id: str) -> tuple[Segment, ...]:
        domain = said(self.domain_text)
        if self.mode == "id-only":
            return Segment(f"{domain} ; ", said(user_id), is_id=True), Segment(" ;")
        before = f"Scenario: {domain}. User id " if self.mode == "id-and-name" else f"Scenario: {domain}. User "
        after = " liked the product ids" if self.mode == "id-and-name" else " liked, oldest first:"
        return Segment(before, said(user_id), is_id=True), Segment(after)

    def _entry(self, item: PromptItem) -> str:
        return f' "{said(item.title)}"' if self.mode == "full" else f" {said(item.item_id)}"

    def _candidate(self, item: PromptItem) -> tuple[Segment, ...]:
        if self.mode == "id-only":
            return (Segment(" ; ", said(item.item_id), is_id=True),)
        if self.mode == "id-and-name":
            return (Segment(". Candidate product id ", said(item.item_id), is_id=True),)
        named = [Segment(f"; {name} ", said(item.fields.get(name, ""))) for name in self.fields]
        title = Segment(", title ", f'"{said(item.title)}"')
        return Segment(". Candidate: product ", said(item.item_id), is_id=True), title, *named


@dataclass(frozen=True)
class PromptFormat:
    """How the prompts of a trained network are written and cut; kept beside it as prompts.json.

    `domain_texts` says each domain of the network in words.
    """

    mode: PromptMode
    max_tokens: int
    history_length: int
    fields: tuple[str, ...]
    domain_texts: Mapping[str, str]

    def prompts(self, domain: str) -> Prompts:
        """The prompts of a domain; one that the network does not know is told by its own name."""
        text = self.domain_texts.get(domain) or domain.replace("-", " ").replace("_", " ")
        return Prompts(text, self.mode, self.history_length, self.fields)

    def with_domain(self, name: str, text: str) -> PromptFormat:
        """The format after one more domain, or with another text for one."""
        return replace(self, domain_texts={**self.domain_texts, name: text})

    def without_domain(self, name: str) -> PromptFormat:
        """The format without a domain."""
        return replace(self, domain_texts={key: text for key, text in self.domain_texts.items() if key != name})

    def to_json(self) -> str:
        """What prompts.json holds."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, document: str) -> PromptFormat:
        """Read prompts.json. Raises ValueError for anything else, naming what is missing or too much."""
        try:
            values = json.loads(document)
            return cls(**{**values, "fields": tuple(values["fields"]), "domain_texts": dict(values["domain_texts"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"prompts.json: must hold what PromptFormat does: {error}") from error


def said(value: str) -> str:
    """A value on one line, of bounded length; "unknown" for one that is missing."""
    line = " ".join(value[:LONGEST_VALUE_CHARACTERS].split())
    return UNKNOWN if not line or line.lower() == "nan" else line
