"""Makes a model version the active one, or a canary or shadow, without a request ever mixing halves of two versions.

1. The version proves itself: the files by their hashes, each scorer and the adaptor by the golden set.
2. Every stored knowledge vector is adapted with the version's adaptor; the result is stored beside the active one's.
   A version of kind unictr reads none, and is through at once.
3. The pointer file is replaced: embedding and ranking follow it by themselves.
4. What came in between, and so has only the active version's vector, is adapted too.

A crash at any point leaves the version before whole and serving; the same call made again finishes the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from loreline.client import EmbeddingClient, FeaturesClient
from services.model_registry import (
    ADAPTED_KINDS,
    GoldenSet,
    Kind,
    Manifest,
    ModelRegistry,
    NoSuchVersion,
    ScorerKind,
    Traffic,
    VersionRefused,
    check_augmented,
    verify_adaptor,
    verify_files,
    verify_scorer,
)

SUBJECTS: tuple[Literal["item", "user"], ...] = ("item", "user")
OnWritten = Callable[[str, int], None]
Score = Callable[[Mapping[str, npt.NDArray[np.generic]]], npt.NDArray[np.float32]]
Proof = Callable[[Manifest, Path], float | None]  # as verify_scorer and verify_networks, of a version's folder


def proof_of(score: Score) -> Proof:
    """The proof of a scorer that takes services.model_registry.scorer_inputs_of(kind)."""
    return lambda manifest, folder: verify_scorer(score, manifest, GoldenSet.read(folder))


class EncoderMismatch(Exception):
    """Stored vectors come from another encoder than the one the version was trained with."""


@dataclass(frozen=True)
class Promoter:
    """Promotes versions of one registry.

    `scorers` gives, for a version, by the place's name what lets it prove itself there: see `Proof`.
    `progress(subject, vectors)` is told of each page that was adapted, `verified(place, difference)` of each check:
    the largest difference from the trained network, None for a version that has no golden set.
    """

    registry: ModelRegistry
    features: FeaturesClient
    embedding: EmbeddingClient
    scorers: Callable[[str], Mapping[str, Proof]] = field(default=lambda _: {})
    progress: OnWritten = lambda *_: None
    verified: Callable[[str, float | None], None] = lambda *_: None

    def promote(self, version: str) -> int:
        """Make `version` the active one and return how many vectors were adapted.

        A canary or shadow of another version ends before its vectors are given up for the new ones. Raises
        NoSuchVersion, VersionRefused, EncoderMismatch (the active version serves on), loreline.client.ClientError.
        """
        return self._bring_in(version, lambda traffic: traffic.promoted(version))

    def rollback(self, kind: ScorerKind = "kar") -> str:
        """Promote the version of a kind that was active before; returns its name.

        Raises NoSuchVersion and as `promote`.
        """
        previous = self.registry.previous(kind)
        if previous is None:
            raise NoSuchVersion(f"no {kind} version was active before this one: there is nothing to roll back to")
        self.promote(previous)
        return previous

    def try_beside(self, version: str, kind: Kind, share: float) -> int:
        """Make `version` the canary or the shadow of a share of the users, 0 to 1; returns as `promote`.

        Called again it adapts what came meanwhile, and may change the share. Raises OtherCandidate and as `promote`.
        """
        own = self.registry.manifest(version).kind
        if self.registry.active(own) is None:
            raise NoSuchVersion(
                f"no version is active yet of kind {own} that {version} could run beside: promote one first"
            )
        self.registry.traffic(own).with_candidate(kind, version, share)  # before an hour is spent on vectors
        return self._bring_in(version, lambda traffic: traffic.with_candidate(kind, version, share))

    def _bring_in(self, version: str, change: Callable[[Traffic], Traffic]) -> int:
        self.verify(version)
        manifest = self.registry.manifest(version)
        self._end_others(manifest)
        adapted = self._adapt_all(manifest)
        traffic = self.registry.traffic(manifest.kind)
        if change(traffic) != traffic:
            self.registry.direct(change(traffic), manifest.kind)
        return adapted + self._adapt_all(manifest)

    def _end_others(self, manifest: Manifest) -> None:
        traffic = self.registry.traffic(manifest.kind)
        if traffic.candidate and manifest.version not in (traffic.candidate, traffic.active):
            self.registry.direct(traffic.without_candidate(), manifest.kind)

    def verify(self, version: str) -> None:
        """Let files, scorers and adaptor prove themselves. Raises NoSuchVersion, VersionRefused, ClientError."""
        folder, manifest = self.registry.folder(version), self.registry.manifest(version)
        for place, check in self._checks(version, manifest):
            try:
                self.verified(place, check(folder))
            except VersionRefused as error:
                raise VersionRefused(f"version {version} is refused: {place}: {error}") from error

    def _checks(self, version: str, manifest: Manifest) -> Iterator[tuple[str, Callable[[Path], float | None]]]:
        yield "its files", lambda folder: verify_files(folder, manifest)
        for place, prove in self.scorers(version).items():
            yield f"scorer {place}", lambda folder, prove=prove: prove(manifest, folder)  # type: ignore[misc]
        if manifest.has_adaptor:
            yield (
                "adaptor",
                lambda folder: verify_adaptor(
                    lambda subject, vectors: self.embedding.adapt(subject, vectors, manifest.encoder, version)[0],
                    manifest,
                    GoldenSet.read(folder),
                ),
            )

    def _adapt_all(self, manifest: Manifest) -> int:
        if not manifest.has_adaptor:
            return 0
        serving = self.registry.active(manifest.kind) or ""
        return sum(self._adapt(subject, manifest, serving) for subject in SUBJECTS)

    def _adapt(self, subject: Literal["item", "user"], manifest: Manifest, serving: str) -> int:
        stored, version = 0, manifest.version
        for page in self.features.knowledge_vectors(subject, lacking_version=version):
            if page.encoder != manifest.encoder:
                raise EncoderMismatch(
                    f"version {version} was trained on vectors of {manifest.encoder!r}, stored ones are of "
                    f"{page.encoder!r}: encode the stored texts again, or train a version on the new encoder"
                )
            augmented, _ = self.embedding.adapt(subject, page.vectors, page.encoder, version)
            check_augmented(augmented, manifest)
            kept = self._of_other_kinds(manifest.kind)
            stored += self.features.put_augmented(
                subject, version, page.subject_ids, page.etags, augmented, serving, kept
            )
            self.progress(subject, len(page.subject_ids))
        return stored

    def _of_other_kinds(self, kind: ScorerKind) -> list[str]:
        """Versions whose vectors ranking reads for the scenarios of other kinds, or would after a rollback."""
        traffic = [self.registry.traffic(other) for other in ADAPTED_KINDS if other != kind]
        return [name for one in traffic for name in (one.active, one.candidate, one.previous) if name]
