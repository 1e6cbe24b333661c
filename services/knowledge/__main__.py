"""The knowledge process: generates knowledge through its providers and keeps it."""

from __future__ import annotations

import sys
from functools import partial
from typing import NoReturn

from pydantic import ValidationError

from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.providers import PROVIDERS, ProviderPool, ProviderUnavailable, build_provider
from services.knowledge.servicer import service
from services.knowledge.settings import KnowledgeSettings
from services.knowledge.store import KnowledgeStore
from services.runtime.errors import DependencyUnavailable
from services.runtime.logs import configure_logs
from services.runtime.server import ServerOptions, serve


def main() -> None:
    """Read settings, open the store, build the default provider, serve, drain on SIGTERM."""
    settings = _read_settings()
    configure_logs("knowledge", settings.log_level)
    try:
        store = KnowledgeStore(settings.store_path)
        providers = ProviderPool(list(PROVIDERS), partial(build_provider, settings=settings))
        default = providers.get(settings.default_provider)
    except (DependencyUnavailable, ProviderUnavailable) as error:
        _stop(str(error))
    generator = KnowledgeGenerator(store, providers, settings.default_provider, settings.fallback_provider)

    def close() -> None:
        providers.close()
        store.close()

    checks = {"store": store.answers, "provider": default.answers}
    serve(ServerOptions(settings.listen_address), [service(generator)], checks, close)


def _read_settings() -> KnowledgeSettings:
    try:
        settings = KnowledgeSettings()  # type: ignore[call-arg]
    except ValidationError as error:
        _stop(f"the environment (LORELINE_KNOWLEDGE_...) is not complete: {error}")
    for name, value in {"DEFAULT": settings.default_provider, "FALLBACK": settings.fallback_provider or None}.items():
        if value is not None and value not in PROVIDERS:
            _stop(f"LORELINE_KNOWLEDGE_{name}_PROVIDER: must be one of {', '.join(sorted(PROVIDERS))}; is {value!r}")
    return settings


def _stop(message: str) -> NoReturn:
    sys.stderr.write(f"knowledge: {message}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
