"""What a ranker knows of a request that was read, whatever the kind of version that scores it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.ranking.clock import Clock


class Asked(Protocol):
    """N candidates that can be scored for a user; ScoringRequest and PromptRequest are such."""

    @property
    def item_ids(self) -> list[str]:
        """Ids of the candidates."""

    @property
    def has_knowledge(self) -> npt.NDArray[np.bool_]:
        """(N,) whether stored knowledge of the candidate can take part in its score."""

    @property
    def cold_start(self) -> bool:
        """Whether the user has no history that counts."""

    def scored(
        self, clock: Clock, *, item_knowledge: bool = True, user_knowledge: bool = True
    ) -> tuple[npt.NDArray[np.float32], str]:
        """(N,) probabilities with the knowledge asked for, and their services.ranking.scorers.Place; "" without any.

        Raises as services.ranking.scorers.Scorer.score, and CallerGone.
        """
