"""The model versions that score: loaded whole, then put in the place of those before by one assignment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import cast

import structlog

from services.model_registry import SCORER_KINDS, ModelRegistry, ScorerKind, Traffic
from services.ranking.loading import AnyModel
from services.ranking.serving_model import ServingModel
from services.runtime.backoff import Backoff
from services.runtime.errors import FailedPrecondition
from services.scenarios import InvalidScenario, UnknownScenario, load_scenario, scenario_names

RETRIEVERS: tuple[ScorerKind, ...] = ("unictr-student", "kar")  # whose vectors candidates are found by
Load = Callable[[str], AnyModel]
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Assigned:
    """The version that a request is scored with, and why: `active`, `canary`, `knowledge-off` or `pinned`.

    `shadow`: the version that is to score the same request unseen, if any.
    """

    model: AnyModel
    reason: str
    use_knowledge: bool = True
    shadow: str | None = None


@dataclass(frozen=True)
class _Loaded:
    """Which version of a kind ranks whom, as far as they could be loaded; `models` holds also the previous one."""

    traffic: Traffic
    models: Mapping[str, AnyModel]

    @property
    def active(self) -> AnyModel:
        return self.models[str(self.traffic.active)]

    def assign(self, user_id: str) -> Assigned:
        traffic, active = self.traffic, self.active
        if traffic.canary and traffic.canary.holds(user_id):
            return Assigned(self.models[traffic.canary.version], "canary")
        shadow = traffic.shadow.version if traffic.shadow and traffic.shadow.holds(user_id) else None
        if traffic.knowledge_off and traffic.knowledge_off.holds(user_id):
            return Assigned(active, "knowledge-off", use_knowledge=False, shadow=shadow)
        return Assigned(active, "active", shadow=shadow)


@dataclass(frozen=True)
class _Failure:
    count: int
    next_try: float  # on the monotonic clock


class ActiveModel:
    """Follows the registry's pointer files in a thread: of each kind the active version, canary or shadow beside it.

    The scenario says which kind ranks it. A version is loaded and has scored once before requests see it. One that
    cannot be loaded is logged and tried again with growing pauses: the active version before goes on to serve, and
    everybody is on the active one while a canary is not loaded. The version that was active before stays loaded, for
    requests that name it.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        load: Load,
        *,
        poll_seconds: float = 0.2,
        backoff: Backoff = Backoff(0.1, 5.0),
    ) -> None:
        self._registry, self._load = registry, load
        self._poll_seconds, self._backoff = poll_seconds, backoff
        self._loaded: Mapping[ScorerKind, _Loaded] = {}
        self._needed: Set[ScorerKind] = set()  # kinds that were active at the start
        self._failures: dict[str, _Failure] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="active model", daemon=True)

    def start(self) -> None:
        """Load the active versions, if there are any, and go on in the background."""
        self._follow()
        self._needed = {kind for kind in SCORER_KINDS if (traffic := self._traffic(kind)) and traffic.active}
        self._thread.start()

    def stop(self) -> None:
        """Follow the pointers no more."""
        self._stopping.set()
        self._thread.join(timeout=self._backoff.longest_seconds)

    def current(self, kind: ScorerKind = "kar") -> AnyModel:
        """The version of a kind that scores now. Raises FailedPrecondition before any promotion."""
        return self._get(kind).active

    def traffic(self, kind: ScorerKind = "kar") -> Traffic:
        """Which version of a kind ranks whom, as far as they could be loaded. Raises FailedPrecondition."""
        return self._get(kind).traffic

    def for_request(self, user_id: str, scenario: str, version: str) -> Assigned:
        """The version that the user is assigned to in a scenario, or the one named.

        Raises FailedPrecondition when no version of the scenario's kind is loaded, or not the one named.
        """
        if not version:
            return self._get(self._kind(scenario)).assign(user_id)
        models = self._models()
        if version not in models:
            there = ", ".join(models) or "none"
            raise FailedPrecondition(f"model version {version!r} is not loaded; loaded are: {there}")
        return Assigned(models[version], "pinned")

    def for_retrieval(self, assigned: Assigned) -> ServingModel:
        """The version by whose vectors candidates are found: the assigned one, or an active one that has vectors.

        Raises FailedPrecondition when there is none.
        """
        active = [self._loaded[kind].active for kind in RETRIEVERS if kind in self._loaded]
        for model in (assigned.model, *active):
            if isinstance(model, ServingModel):
                return model
        raise FailedPrecondition(
            f"model version {assigned.model.manifest.version} reads texts and has no vectors to find candidates by: "
            "promote a version of kind kar or unictr-student beside it, or ask Rank with candidates of your own"
        )

    def roles(self) -> dict[str, str]:
        """What each loaded version does: `active`, `canary`, `shadow` or `previous`."""
        return {
            version: _role(version, loaded.traffic) for loaded in self._loaded.values() for version in loaded.models
        }

    def kinds(self) -> dict[str, str]:
        """The kind of each loaded version."""
        return {version: model.manifest.kind for version, model in self._models().items()}

    def failing(self) -> list[str]:
        """Versions that are wanted and cannot be loaded."""
        return sorted(self._failures)

    def ready(self) -> bool:
        """Whether a version is loaded, one of each kind that was active at the start, and their scorers answer.

        A kind that is promoted later and fails takes nothing from the others.
        """
        loaded = self._loaded
        return bool(loaded) and self._needed <= loaded.keys() and all(one.active.ready() for one in loaded.values())

    def _kind(self, scenario: str) -> ScorerKind:
        """What the scenario's file says; `unictr`, whose general network ranks anything, where there is no file."""
        try:
            return cast("ScorerKind", load_scenario(scenario).scorer)
        except UnknownScenario as error:
            if "unictr" in self._loaded:
                return "unictr"
            raise FailedPrecondition(
                f"scenario {scenario!r} is not configured, only {', '.join(scenario_names())} are: add its file, or "
                "promote a version of kind unictr (`loreline train --config unictr`, then `loreline models promote`), "
                "whose general network ranks scenarios that nobody configured"
            ) from error
        except InvalidScenario as error:
            raise FailedPrecondition(f"scenario {scenario!r} cannot be read: {error}") from error

    def _get(self, kind: ScorerKind) -> _Loaded:
        if kind in self._loaded:
            return self._loaded[kind]
        trained = "train one with `loreline train" + ("`" if kind == "kar" else f" --config {kind}`")
        raise FailedPrecondition(
            f"no model version is loaded of kind {kind}, which ranks the scenario: {trained}, then run "
            "`loreline models promote`"
        )

    def _models(self) -> dict[str, AnyModel]:
        return {version: model for loaded in self._loaded.values() for version, model in loaded.models.items()}

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self._follow()

    def _follow(self) -> None:
        pointers = {kind: traffic for kind in SCORER_KINDS if (traffic := self._traffic(kind))}
        wanted = {version for one in pointers.values() for version in (one.active, one.candidate) if version}
        self._failures = {version: failure for version, failure in self._failures.items() if version in wanted}
        for kind, traffic in pointers.items():
            if loaded := self._followed(traffic, self._loaded.get(kind)):
                self._loaded = {**self._loaded, kind: loaded}

    def _traffic(self, kind: ScorerKind) -> Traffic | None:
        try:
            return self._registry.traffic(kind)
        except Exception as error:  # whatever is wrong with the file must not end the following of the next one
            log.error("the pointer to the model versions cannot be read", kind=kind, error=str(error))
            return None

    def _followed(self, traffic: Traffic, before: _Loaded | None) -> _Loaded | None:
        """What a pointer wants, as far as it can be loaded; None while its active version cannot."""
        known = before.models if before else {}
        wanted = [version for version in (traffic.active, traffic.candidate) if version]
        models = {version: model for version in wanted if (model := self._model(version, known))}
        if traffic.active not in models:
            return None
        loadable = traffic if traffic.candidate in models else traffic.without_candidate()
        previous = {version: known[version] for version in (traffic.previous,) if version in known and version}
        return _Loaded(loadable, {**models, **previous})

    def _model(self, version: str, known: Mapping[str, AnyModel]) -> AnyModel | None:
        if version in known:
            return known[version]
        failure = self._failures.get(version)
        if failure and time.monotonic() < failure.next_try:
            return None
        try:
            model = self._load(version)
        except Exception as error:  # whatever is wrong with a version must not end the following of the next one
            self._failures[version] = self._failure_after(failure)
            log.error("the model version cannot be loaded", model_version=version, error=str(error))
            return None
        self._failures.pop(version, None)
        log.info("model version loaded", model_version=version, kind=model.manifest.kind)
        return model

    def _failure_after(self, before: _Failure | None) -> _Failure:
        count = before.count + 1 if before else 1
        return _Failure(count, time.monotonic() + self._backoff.pause_seconds(count))


def _role(version: str, traffic: Traffic) -> str:
    beside = "canary" if traffic.canary else "shadow"
    return {traffic.active: "active", traffic.candidate: beside}.get(version, "previous")
