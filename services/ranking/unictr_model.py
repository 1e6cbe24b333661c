"""What is in memory of a model version that scores texts: kind unictr, a language model under a network a scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.ctr.uni_ctr.prompt_encoder import EncodedPrompts, PromptEncoder
from services.ctr.uni_ctr.prompts import PromptFormat, PromptItem, PromptParts
from services.model_registry import Manifest
from services.model_registry.unictr_files import ATTENTION_MASK, INPUT_IDS, network_of
from services.ranking.clock import Clock
from services.ranking.scorers import Place, Scored, Scorer
from services.ranking.sequence_batches import by_length
from services.runtime.admission import Admission
from services.runtime.errors import InvalidRequest


@dataclass(frozen=True)
class UniCtrModel:
    """One version. `networks` score sequences by the name of a network; at most `batch` sequences at a time.

    `admission` lets few lists be scored at a time: each takes as much of the processor as thousands of others. `cut` is
    told how many candidates of a list lost words because the language model takes only so many.
    """

    manifest: Manifest
    prompts: PromptFormat
    encoder: PromptEncoder
    networks: Mapping[str, Scorer]
    admission: Admission
    batch: int = 32
    cut: Callable[[int], None] = lambda _: None

    def ready(self) -> bool:
        """Whether each network answers."""
        return all(network.ready() for network in self.networks.values())

    def scored(
        self, scenario: str, user_id: str, history: Sequence[PromptItem], candidates: Sequence[PromptItem], clock: Clock
    ) -> Scored:
        """(N,) probabilities of N candidates by the scenario's network, or the general one.

        `history` is what the user liked, oldest first. Raises as Scorer.score, and InvalidRequest for a scenario whose
        name leaves no room in a prompt, Overloaded, CallerGone.
        """
        encoded = self._encoded(scenario, user_id, history, candidates)
        network = self.networks[network_of(self.manifest, scenario)]
        with self.admission.turn(clock.seconds_left(), clock.is_active):
            return _scored(network, encoded, self.batch, clock)

    def _encoded(
        self, scenario: str, user_id: str, history: Sequence[PromptItem], candidates: Sequence[PromptItem]
    ) -> EncodedPrompts:
        prompts = self.prompts.prompts(scenario)
        parts: list[PromptParts] = [prompts.parts(user_id, history, candidate) for candidate in candidates]
        try:
            encoded = self.encoder.encode(parts)
        except ValueError as error:
            wrong = f"must leave room for a candidate in the prompts of version {self.manifest.version}: {error}"
            raise InvalidRequest([("scenario", wrong)]) from error
        self.cut(int(np.count_nonzero(encoded.candidate_cut)))
        return encoded


def _scored(network: Scorer, encoded: EncodedPrompts, most: int, clock: Clock) -> Scored:
    logits = np.empty(len(encoded.input_ids), dtype=np.float32)
    place: Place = "IN_PROCESS"
    for batch in by_length(encoded.input_ids, encoded.attention_mask, most):
        inputs = {INPUT_IDS: batch.input_ids, ATTENTION_MASK: batch.attention_mask}
        logits[batch.positions], place = network.score(inputs, clock.check("score"))
    return Scored(_probabilities(logits), place)


def _probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the probability 0
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)
