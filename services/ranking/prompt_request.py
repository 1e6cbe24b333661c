"""One user and some candidates as a version sees them that reads texts: what its networks are asked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loreline.domain import Item
from services.ctr.uni_ctr.prompts import PromptItem
from services.ranking.clock import Clock
from services.ranking.item_content import liked_places, prompt_item, prompt_items
from services.ranking.item_rows import ItemRows
from services.ranking.scoring_request import History, checked_scores
from services.ranking.unictr_model import UniCtrModel


@dataclass(frozen=True)
class PromptRequest:
    """The candidates and what the user liked, oldest first, as prompts say them."""

    model: UniCtrModel
    scenario: str
    user_id: str
    history: Sequence[PromptItem]
    candidates: Sequence[PromptItem]

    @property
    def item_ids(self) -> list[str]:
        """Ids of the candidates."""
        return [candidate.item_id for candidate in self.candidates]

    @property
    def has_knowledge(self) -> npt.NDArray[np.bool_]:
        """(N,) False: it reads no stored knowledge."""
        return np.zeros(len(self.candidates), dtype=np.bool_)

    @property
    def cold_start(self) -> bool:
        """Whether nothing is known that the user liked."""
        return not self.history

    def scored(
        self,
        clock: Clock,
        *,
        item_knowledge: bool = True,  # noqa: ARG002  there is none to leave out
        user_knowledge: bool = True,  # noqa: ARG002
    ) -> tuple[npt.NDArray[np.float32], str]:
        """See Asked."""
        if not self.candidates:
            return np.empty(0, dtype=np.float32), ""
        scored = self.model.scored(self.scenario, self.user_id, self.history, self.candidates, clock)
        return checked_scores(scored.values, self.model.manifest), scored.place


def liked_items(history: History, rows: ItemRows, most: int) -> list[PromptItem]:
    """The newest `most` items of a history that are stored and were liked, oldest first."""
    places = liked_places(history.ratings, rows, most)
    return prompt_items(history.at(places).item_ids, rows.at(places))


def prompt_candidates(
    item_ids: Sequence[str], rows: ItemRows, scenario: str, inline: Mapping[str, Item]
) -> list[PromptItem]:
    """Those of `item_ids` that are stored for the scenario, and those not stored whose content is given inline."""
    stored = np.flatnonzero(rows.scenario == rows.interner.find(scenario))
    items = prompt_items([item_ids[place] for place in stored.tolist()], rows.at(stored))
    said = dict(zip(stored.tolist(), items, strict=True))
    absent = rows.absent.tolist()
    given = {p: prompt_item(inline[i]) for p, i in enumerate(item_ids) if i in inline and absent[p]}
    return [item for _, item in sorted({**said, **given}.items())]
