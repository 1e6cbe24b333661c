"""Puts the parts of the service together, for the process and for tests alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.knowledge.archive import Archive
from services.knowledge.asking import Asker
from services.knowledge.budget import TokenBudget
from services.knowledge.elicitation import FactorElicitor
from services.knowledge.encoding import RemoteEncoder
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.metering import Meter
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.providers import ProviderPool
from services.knowledge.sampling import Sampler
from services.knowledge.settings import KnowledgeSettings
from services.knowledge.store import KnowledgeStore
from services.knowledge.suspects import SuspectStore


@dataclass(frozen=True)
class Parts:
    """What a servicer needs, the health checks by name, and how to let go of everything."""

    generator: KnowledgeGenerator
    elicitor: FactorElicitor
    archive: Archive
    checks: Mapping[str, Callable[[], bool]]
    close: Callable[[], None]


def assemble(settings: KnowledgeSettings, providers: ProviderPool, metrics: KnowledgeMetrics) -> Parts:
    """Open the store and build the default provider. Raises DependencyUnavailable, ProviderUnavailable."""
    default = providers.get(settings.default_provider)
    store = KnowledgeStore(settings.store_path)
    suspects = SuspectStore(store.database)
    budget = TokenBudget(store.database, settings.tokens_per_hour, settings.scenario_tokens_per_hour)
    meter = Meter(budget, metrics)
    asker = Asker(meter, suspects, metrics)
    metrics.watch_budget(budget.names, budget.left)
    metrics.watch_breakers(providers.names, providers.is_paused)
    encoder = _encoder(settings)
    sampler = Sampler(store, encoder, asker, settings.samples, settings.minimum_agreement) if encoder else None
    retry = timedelta(hours=settings.fallback_retry_hours)
    generator = KnowledgeGenerator(
        store, providers, asker, metrics, settings.default_provider, settings.fallback_provider, sampler, retry
    )

    def close() -> None:
        providers.close()
        if encoder:
            encoder.close()
        store.close()

    checks = {"store": store.answers, "provider": default.answers}
    checks |= {"embedding": encoder.answers} if encoder else {}
    elicitor = FactorElicitor(providers, settings.default_provider, meter)
    return Parts(generator, elicitor, Archive(store, suspects), checks, close)


def _encoder(settings: KnowledgeSettings) -> RemoteEncoder | None:
    if settings.samples == 1:
        return None
    return RemoteEncoder(settings.embedding_address, settings.embedding_timeout_seconds)
