"""Builds the knowledge of a whole dataset, with a progress bar. Imported only when it runs: Feast takes seconds."""

from __future__ import annotations

from loreline.client import EmbeddingClient, KnowledgeClient
from services.cli.local_processes import LocalProcesses
from services.cli.output import NotReady
from services.cli.progress import progress_bar
from services.cli.settings import CliSettings
from services.cli.startup import BULK_CALL_TIMEOUT_SECONDS
from services.cli.training.datasets import refuse_while_features_runs
from services.trainer.data import offline_store
from services.trainer.data.datasets import Dataset
from services.trainer.knowledge import bulk
from services.trainer.knowledge.collective import INDIVIDUAL, KnowledgeConfig
from services.trainer.knowledge.kept_vectors import EncoderChanged, KeptVectors


def build_knowledge(
    settings: CliSettings,
    dataset: Dataset,
    provider: str,
    subject: str = "both",
    config: KnowledgeConfig = INDIVIDUAL,
) -> dict[str, int]:
    """Knowledge of all items and users, or of one kind, loaded; returns how many, in collective mode the calls saved.

    Raises NotReady, ClientError.
    """
    refuse_while_features_runs(settings)
    try:
        return _built(settings, dataset, provider, subject, config)
    except (bulk.KnowledgeMissing, EncoderChanged) as error:
        raise NotReady(str(error)) from error


def _built(
    settings: CliSettings, dataset: Dataset, provider: str, subject: str, config: KnowledgeConfig
) -> dict[str, int]:
    processes = LocalProcesses(settings)
    items = list(dataset.items.values()) if subject != "user" else []
    users = [history for history, _ in offline_store.preference_histories(dataset)] if subject != "item" else []
    with (
        KnowledgeClient(processes.address("knowledge"), BULK_CALL_TIMEOUT_SECONDS) as knowledge,
        EmbeddingClient(processes.address("embedding"), BULK_CALL_TIMEOUT_SECONDS) as encoder,
        KeptVectors(encoder, settings.kept_vectors_file) as embedding,
        progress_bar() as bar,
    ):
        if config.mode == "collective":
            task = bar.add_task("contents and groups: text, then vector", total=len(items) + 2 * config.clusters)
            found = bulk.collective_knowledge(
                items, users, knowledge, embedding, lambda n: bar.advance(task, n), config, provider
            )
            offline_store.load_knowledge(dataset, found.items, found.users, settings.feature_directory)
            saved = {"llm_calls": found.llm_calls, "llm_calls_saved": found.llm_calls_saved}
            return {"items": len(found.items), "users": len(found.users), **saved}
        of_items = bar.add_task("items: text, then vector", total=len(items))
        of_users = bar.add_task("users: text, then vector", total=len(users))
        item_rows = [
            row
            for scenario in dict.fromkeys(item.scenario for item in items)
            for row in bulk.item_knowledge(
                [item for item in items if item.scenario == scenario],
                knowledge,
                embedding,
                lambda n: bar.advance(of_items, n),
                provider,
            )
        ]
        user_rows = bulk.user_knowledge(
            users, dataset.scenario, knowledge, embedding, lambda n: bar.advance(of_users, n), provider
        )
        offline_store.load_knowledge(dataset, item_rows, user_rows, settings.feature_directory)
    return {"items": len(item_rows), "users": len(user_rows)}
