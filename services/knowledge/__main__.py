"""The knowledge process: generates knowledge through its providers and keeps it."""

from __future__ import annotations

from functools import partial

import jinja2

from services.knowledge.assembly import assemble
from services.knowledge.metrics import KnowledgeMetrics
from services.knowledge.prompts import check_templates
from services.knowledge.providers import PROVIDERS, ProviderPool, ProviderUnavailable, build_provider
from services.knowledge.servicer import service
from services.knowledge.settings import KnowledgeSettings
from services.runtime.errors import DependencyUnavailable
from services.runtime.logs import configure_logs
from services.runtime.metrics import serve_metrics
from services.runtime.process_settings import read_settings, refuse_to_start
from services.runtime.server import ServerOptions, serve
from services.scenarios import InvalidScenario, load_scenario, scenario_names


def main() -> None:
    """Read settings, open the store, build the default provider, serve, drain on SIGTERM."""
    settings = _read_settings()
    configure_logs("knowledge", settings.log_level)
    _check_scenarios(settings)
    metrics = KnowledgeMetrics(settings.prompt_price_per_million_tokens, settings.completion_price_per_million_tokens)
    serve_metrics(metrics.registry, settings.metrics_address)
    try:
        parts = assemble(settings, ProviderPool(list(PROVIDERS), partial(build_provider, settings=settings)), metrics)
    except (DependencyUnavailable, ProviderUnavailable) as error:
        refuse_to_start(str(error))
    made = service(parts.generator, parts.elicitor, parts.archive)
    serve(ServerOptions(settings.listen_address), [made], parts.checks, parts.close)


def _read_settings() -> KnowledgeSettings:
    settings = read_settings(KnowledgeSettings)
    for name, value in {"DEFAULT": settings.default_provider, "FALLBACK": settings.fallback_provider or None}.items():
        if value is not None and value not in PROVIDERS:
            known = ", ".join(sorted(PROVIDERS))
            refuse_to_start(f"LORELINE_KNOWLEDGE_{name}_PROVIDER: must be one of {known}; is {value!r}")
    return settings


def _check_scenarios(settings: KnowledgeSettings) -> None:
    if unknown := settings.scenario_tokens_per_hour.keys() - scenario_names():
        known = ", ".join(scenario_names())
        refuse_to_start(f"LORELINE_KNOWLEDGE_SCENARIO_TOKENS_PER_HOUR: must name scenarios of {known}; not {unknown}")
    for name in scenario_names():
        try:
            scenario = load_scenario(name)
            check_templates(scenario)
        except InvalidScenario as error:
            refuse_to_start(str(error))
        except jinja2.TemplateError as error:
            refuse_to_start(f"scenario {name}: prompts: {error}")
        if scenario.minimum_agreement is not None and settings.samples == 1:
            refuse_to_start(f"scenario {name}: minimum_agreement: needs LORELINE_KNOWLEDGE_SAMPLES of at least 2")


if __name__ == "__main__":
    main()
