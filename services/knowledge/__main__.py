"""The knowledge process: generates knowledge through its providers and keeps it."""

from __future__ import annotations

from functools import partial

import jinja2

from services.knowledge.elicitation import FactorElicitor
from services.knowledge.encoding import RemoteEncoder
from services.knowledge.generator import KnowledgeGenerator
from services.knowledge.prompts import check_templates
from services.knowledge.providers import PROVIDERS, ProviderPool, ProviderUnavailable, build_provider
from services.knowledge.sampling import Sampler
from services.knowledge.servicer import service
from services.knowledge.settings import KnowledgeSettings
from services.knowledge.store import KnowledgeStore
from services.runtime.errors import DependencyUnavailable
from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings, refuse_to_start
from services.runtime.server import ServerOptions, serve
from services.scenarios import InvalidScenario, load_scenario, scenario_names


def main() -> None:
    """Read settings, open the store, build the default provider, serve, drain on SIGTERM."""
    settings = _read_settings()
    configure_logs("knowledge", settings.log_level)
    _check_scenarios()
    try:
        store = KnowledgeStore(settings.store_path)
        providers = ProviderPool(list(PROVIDERS), partial(build_provider, settings=settings))
        default = providers.get(settings.default_provider)
    except (DependencyUnavailable, ProviderUnavailable) as error:
        refuse_to_start(str(error))
    encoder = _open_encoder(settings)
    sampler = Sampler(store, encoder, settings.samples, settings.minimum_agreement) if encoder else None
    generator = KnowledgeGenerator(store, providers, settings.default_provider, settings.fallback_provider, sampler)
    elicitor = FactorElicitor(providers, settings.default_provider)

    def close() -> None:
        providers.close()
        if encoder:
            encoder.close()
        store.close()

    checks = {"store": store.answers, "provider": default.answers}
    checks |= {"embedding": encoder.answers} if encoder else {}
    serve(ServerOptions(settings.listen_address), [service(generator, elicitor)], checks, close)


def _open_encoder(settings: KnowledgeSettings) -> RemoteEncoder | None:
    if settings.samples == 1:
        return None
    return RemoteEncoder(settings.embedding_address, settings.embedding_timeout_seconds)


def _read_settings() -> KnowledgeSettings:
    settings = read_settings(KnowledgeSettings)
    for name, value in {"DEFAULT": settings.default_provider, "FALLBACK": settings.fallback_provider or None}.items():
        if value is not None and value not in PROVIDERS:
            known = ", ".join(sorted(PROVIDERS))
            refuse_to_start(f"LORELINE_KNOWLEDGE_{name}_PROVIDER: must be one of {known}; is {value!r}")
    return settings


def _check_scenarios() -> None:
    for name in scenario_names():
        try:
            check_templates(load_scenario(name))
        except InvalidScenario as error:
            refuse_to_start(str(error))
        except jinja2.TemplateError as error:
            refuse_to_start(f"scenario {name}: prompts: {error}")


if __name__ == "__main__":
    main()
