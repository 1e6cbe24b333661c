"""Promotion over real features and embedding services: nothing is served that has not proved itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from loreline.client import EmbeddingClient, FeaturesClient
from services.model_registry import ModelRegistry, NoSuchVersion, OtherCandidate, VersionRefused, verify_networks
from services.ranking.scorers.in_process import InProcessScorer
from services.ranking.scorers.opening import ScorerOpener, ScorerOptions
from services.trainer.release.promotion import Promoter, Proof, proof_of
from tests.model_versions import augmented, register_version
from tests.small_platform import running_embedding, running_features, store_items, store_user, vector_of
from tests.unictr_versions import register_student, register_unictr

ITEMS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeaturesClient]:
    with running_features(tmp_path_factory.mktemp("features")) as client:
        store_items(client, ITEMS)
        store_user(client, "ann")
        yield client


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    """Versions 1, which is active, and 2."""
    registry = ModelRegistry(tmp_path / "registry")
    for _ in range(2):
        register_version(registry)
    return registry


@pytest.fixture
def embedding(registry: ModelRegistry) -> Iterator[EmbeddingClient]:
    with running_embedding(registry) as client:
        yield client


@pytest.fixture
def promoter(registry: ModelRegistry, features: FeaturesClient, embedding: EmbeddingClient) -> Promoter:
    def scorers(version: str) -> Mapping[str, Proof]:
        scorer = InProcessScorer(registry.folder(version) / "scorer.onnx")
        return {"in this process": proof_of(lambda inputs: scorer.score(inputs).values)}

    return Promoter(registry, features, embedding, scorers)


def stored(features: FeaturesClient, version: str) -> dict[str, np.ndarray]:
    return {item.item_id: item.augmented[version] for item in features.items(ITEMS).items if version in item.augmented}


def assert_adapted(
    features: FeaturesClient, version: str, items: Sequence[str] = ITEMS, users: Sequence[str] = ("ann",)
) -> None:
    """Every item and user has the vector that the version's adaptor makes."""
    for item in features.items(items).items:
        expected = augmented(int(version), "item", [vector_of(item.item_id)])[0]
        np.testing.assert_allclose(item.augmented[version], expected, atol=1e-5)
    for user_id in users:
        expected = augmented(int(version), "user", [vector_of(user_id)])[0]
        np.testing.assert_allclose(features.user(user_id).user.augmented[version], expected, atol=1e-5)


def test_a_version_that_proves_itself_becomes_active_with_all_vectors(
    promoter: Promoter, features: FeaturesClient, registry: ModelRegistry
) -> None:
    """Then the one before comes back the same way."""
    for version in ("1", "2"):
        promoter.promote(version)
        assert registry.active() == version
        assert_adapted(features, version)
    assert promoter.rollback() == "1"
    assert (registry.active(), registry.previous()) == ("1", "2")
    assert_adapted(features, "1")


POISON: dict[str, tuple[Mapping[str, float], str]] = {
    "scores that are NaN": ({"item_table": np.nan}, "scorer in this process: .* scores are NaN or infinite"),
    "scores that are off": ({"item_table": 0.5}, "scorer in this process: scores are off by up to"),
    "an item adaptor that is off": ({"item_weight": 1.0}, "adaptor: augmented vectors of items are off"),
    "a user adaptor of NaN": ({"user_weight": np.nan}, "adaptor: .* augmented vectors of users are NaN"),
}


@pytest.mark.parametrize("name", POISON)
@pytest.mark.parametrize("bring_in", ["promote", "canary"])
def test_a_poisoned_version_is_refused_and_the_old_one_serves_on(
    promoter: Promoter, features: FeaturesClient, registry: ModelRegistry, name: str, bring_in: str
) -> None:
    """The message names the half and what is wrong; no vector of it was stored."""
    poison, message = POISON[name]
    promoter.promote("1")
    poisoned = register_version(registry, poison=poison)
    before = registry.traffic()
    with pytest.raises(VersionRefused, match=f"version 3 is refused: {message}"):
        promoter.promote(poisoned) if bring_in == "promote" else promoter.try_beside(poisoned, "canary", 0.5)
    assert registry.traffic() == before
    assert stored(features, poisoned) == {}


def test_a_scorer_of_another_shape_is_refused(promoter: Promoter, registry: ModelRegistry) -> None:
    """Whatever place it scores in."""
    wrong = Promoter(
        registry, promoter.features, promoter.embedding, lambda _: {"elsewhere": proof_of(lambda _: np.zeros((1, 2)))}
    )
    promoter.promote("1")
    with pytest.raises(VersionRefused, match=r"scorer elsewhere: scores have shape \(1, 2\), expected \(1, 6\)"):
        wrong.promote("2")
    assert registry.active() == "1"


def test_a_version_without_golden_set_is_said_to_be_unproved(promoter: Promoter, registry: ModelRegistry) -> None:
    """It may be promoted all the same: versions registered by earlier releases have none."""
    told: list[tuple[str, float | None]] = []
    listening = Promoter(
        registry, promoter.features, promoter.embedding, promoter.scorers, verified=lambda *check: told.append(check)
    )
    old = register_version(registry, golden=False)
    listening.promote(old)
    assert registry.active() == old
    assert told == [("its files", None), ("scorer in this process", None), ("adaptor", None)]


class TestBeside:
    """Canary and shadow."""

    def test_the_canary_has_its_vectors_before_it_has_users(
        self, promoter: Promoter, features: FeaturesClient, registry: ModelRegistry
    ) -> None:
        """Beside the active version's."""
        promoter.promote("1")
        promoter.try_beside("2", "canary", 0.05)
        traffic = registry.traffic()
        assert (traffic.active, traffic.candidate) == ("1", "2")
        assert_adapted(features, "1")
        assert_adapted(features, "2")

    def test_knowledge_that_came_later_is_adapted_by_the_same_call(
        self, promoter: Promoter, features: FeaturesClient, registry: ModelRegistry
    ) -> None:
        """New knowledge is stored with the active version's vector alone."""
        promoter.promote("1")
        promoter.try_beside("2", "canary", 0.05)
        store_items(features, ["later"], version="1")
        assert promoter.try_beside("2", "canary", 0.1) == 1
        assert "2" in features.items(["later"]).items[0].augmented

    def test_another_version_cannot_run_beside_as_well(self, promoter: Promoter, registry: ModelRegistry) -> None:
        """Said before any vector is adapted."""
        promoter.promote("1")
        promoter.try_beside("2", "canary", 0.05)
        third = register_version(registry)
        with pytest.raises(OtherCandidate, match="version 2 runs beside"):
            promoter.try_beside(third, "shadow", 0.05)
        with pytest.raises(OtherCandidate, match="version 1 is the active one"):
            promoter.try_beside("1", "canary", 0.05)

    def test_promoting_a_third_version_ends_the_canary_first(self, promoter: Promoter, registry: ModelRegistry) -> None:
        """Its vectors give way to the new ones, so no user may be on it meanwhile."""
        promoter.promote("1")
        promoter.try_beside("2", "canary", 0.05)
        third, seen = register_version(registry), []
        watching = Promoter(
            registry,
            promoter.features,
            promoter.embedding,
            promoter.scorers,
            lambda *_: seen.append(registry.traffic()),
        )
        watching.promote(third)
        assert {traffic.candidate for traffic in seen} == {None}
        assert registry.active() == third

    def test_nothing_runs_beside_nothing(self, promoter: Promoter) -> None:
        """Before the first promotion there is nobody to share users with."""
        with pytest.raises(NoSuchVersion, match="no version is active yet"):
            promoter.try_beside("2", "canary", 0.05)


class Crash(BaseException):
    """Ends a promotion as a kill does: nothing catches it."""


CALLS = 7  # of adaptor (golden items and users, items, users), of the store (items, users), of the pointer


@pytest.mark.parametrize("calls_until_crash", range(1, CALLS + 1))
@pytest.mark.parametrize("bring_in", ["promote", "canary"])
def test_a_crash_at_any_call_leaves_the_old_version_and_a_second_try_finishes(
    features: FeaturesClient,
    embedding: EmbeddingClient,
    registry: ModelRegistry,
    promoter: Promoter,
    calls_until_crash: int,
    bring_in: str,
) -> None:
    """At the n-th call that computes or changes anything; in the end the new version has all its vectors."""
    new = [f"{bring_in}-{calls_until_crash}-{number}" for number in range(3)]
    store_items(features, new)
    store_user(features, new[0])
    promoter.promote("1")
    calls = itertools.count(1)

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            if next(calls) == calls_until_crash:
                raise Crash
            return call(*arguments)

        return counted

    def run() -> None:
        promoter.promote("2") if bring_in == "promote" else promoter.try_beside("2", "canary", 0.5)

    with pytest.MonkeyPatch.context() as patch:
        for part, name in ((registry, "direct"), (embedding, "adapt"), (features, "put_augmented")):
            patch.setattr(part, name, dying(getattr(part, name)))
        with pytest.raises(Crash):
            run()
    assert (registry.active(), registry.traffic().candidate) == ("1", None)
    assert_adapted(features, "1", new, new[:1])
    run()
    assert "2" in (registry.active(), registry.traffic().candidate)
    assert_adapted(features, "2", new, new[:1])


class TestKinds:
    """Each kind has an active version of its own."""

    def test_a_student_and_the_kar_versions_keep_their_vectors_through_each_other_s_promotions(
        self, promoter: Promoter, features: FeaturesClient, registry: ModelRegistry
    ) -> None:
        """What ranks a scenario must not lose its vectors because another scenario's version was promoted."""
        student = register_student(registry)
        for version in ("1", student, "2", register_version(registry)):
            promoter.promote(version)
        assert (registry.active("unictr-student"), registry.active()) == (student, "4")
        for version in (student, "2", "4"):
            assert_adapted(features, version)

    def test_a_version_that_reads_texts_is_proved_and_active_at_once(
        self, registry: ModelRegistry, features: FeaturesClient, embedding: EmbeddingClient
    ) -> None:
        """It has no vectors, and a rollback is one of its kind; a poisoned network is refused by its name."""
        versions = [register_unictr(registry), register_unictr(registry), register_unictr(registry, poison="books")]
        opener = ScorerOpener(ScorerOptions())

        def proofs(version: str) -> Mapping[str, Proof]:
            networks = opener.open_networks(registry.manifest(version), registry.folder(version))

            def score(name: str, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
                return networks[name].score({"input_ids": ids, "attention_mask": mask}).values

            return {"here": lambda manifest, folder: verify_networks(score, manifest, folder)}

        told: dict[str, float | None] = {}
        promoter = Promoter(registry, features, embedding, proofs, verified=lambda *proof: told.update([proof]))
        assert [promoter.promote(version) for version in versions[:2]] == [0, 0]
        assert told["scorer here"] == pytest.approx(0, abs=1e-5)
        with pytest.raises(VersionRefused, match="scorer here: network 'books'"):
            promoter.promote(versions[2])
        assert promoter.rollback("unictr") == versions[0]
        assert (registry.active("unictr"), registry.active()) == (versions[0], None)
