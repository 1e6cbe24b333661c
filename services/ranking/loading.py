"""Loads a model version whole, as its kind asks, and lets it score once before requests see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from services.ctr.uni_ctr.prompt_encoder import PromptEncoder
from services.ctr.uni_ctr.prompts import PromptFormat, PromptItem
from services.model_registry import Manifest, ModelRegistry, blank_inputs, verify_files
from services.model_registry.unictr_files import GENERAL, PROMPTS_FILE, TOKENIZER_FILE, missing_files
from services.ranking.clock import Clock
from services.ranking.item_cache import ItemCache
from services.ranking.scorers import Scorer
from services.ranking.serving_model import FieldIndex, ServingModel
from services.ranking.unictr_model import UniCtrModel
from services.runtime.admission import Admission

WARM_UP_CANDIDATES = 200
BLANK = PromptItem("item", "title")
AnyModel = ServingModel | UniCtrModel


class BrokenVersion(Exception):
    """A version's files do not make a whole; the message names what is wrong."""


class Scorers(Protocol):
    """Opens what a version scores with; services.ranking.scorers.opening does."""

    def open(self, manifest: Manifest, folder: Path, /) -> Scorer:
        """The scorer of a version that scores stored features."""

    def open_networks(self, manifest: Manifest, folder: Path, /) -> Mapping[str, Scorer]:
        """The networks of a version that scores texts, by name."""


@dataclass(frozen=True)
class LanguageModelLimits:
    """How versions that score texts share the processor: `concurrency` lists at a time, `batch` sequences of one.

    A list that would wait longer than `max_queue_seconds` is refused; `refused` is told why, `cut` how many candidates
    of a list lost words.
    """

    concurrency: int = 1
    max_queue_seconds: float = 1.0
    batch: int = 32
    refused: Callable[[str], None] = lambda _: None
    cut: Callable[[int], None] = lambda _: None


class ModelLoader:
    """Loads versions of one registry for the items of `cache`. All that score texts share one admission."""

    def __init__(
        self,
        registry: ModelRegistry,
        scorers: Scorers,
        cache: ItemCache,
        limits: LanguageModelLimits | None = None,
    ) -> None:
        self._registry, self._scorers, self._cache = registry, scorers, cache
        self._limits = limits or LanguageModelLimits()
        self._admission = Admission(self._limits.concurrency, self._limits.max_queue_seconds, self._limits.refused)

    def load(self, version: str) -> AnyModel:
        """The version, after it has scored once. Raises whatever is wrong with it."""
        manifest = self._registry.manifest(version)
        verify_files(self._registry.folder(version), manifest)
        return self._texts(manifest) if manifest.kind == "unictr" else self._features(manifest)

    def _features(self, manifest: Manifest) -> ServingModel:
        folder, vocabulary = self._registry.folder(manifest.version), self._registry.vocabulary(manifest.version)
        scorer = self._scorers.open(manifest, folder)
        scorer.score(blank_inputs(manifest, WARM_UP_CANDIDATES))
        return ServingModel(manifest, vocabulary, FieldIndex(vocabulary, self._cache.interner), scorer)

    def _texts(self, manifest: Manifest) -> UniCtrModel:
        folder = self._registry.folder(manifest.version)
        if missing := missing_files(manifest, folder):
            raise BrokenVersion(f"{folder} lacks {', '.join(missing)}")
        prompts = PromptFormat.from_json((folder / PROMPTS_FILE).read_text(encoding="utf-8"))
        encoder = PromptEncoder(Tokenizer.from_file(str(folder / TOKENIZER_FILE)), prompts.max_tokens)
        networks = self._scorers.open_networks(manifest, folder)
        model = UniCtrModel(manifest, prompts, encoder, networks, self._admission, self._limits.batch, self._limits.cut)
        for name in networks:
            _try(model, name)
        return model


def _try(model: UniCtrModel, network: str) -> None:
    """Let a network score one candidate of its scenario. Raises BrokenVersion for what is no score."""
    scenario = network if network != GENERAL else "a scenario that nobody knows"
    scores = model.scored(scenario, "user", [], [BLANK], Clock(None)).values
    if scores.shape != (1,) or not np.isfinite(scores).all():
        raise BrokenVersion(f"network {network!r} gave scores {scores}, expected one finite number")
