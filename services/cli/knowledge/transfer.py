"""The steps behind `loreline knowledge import` and `export`. Files are checked before Feast is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loreline.client import EmbeddingClient
from services.cli.local_processes import LocalProcesses
from services.cli.output import BadInput, NotReady
from services.cli.progress import progress_bar
from services.cli.settings import CliSettings
from services.cli.startup import BULK_CALL_TIMEOUT_SECONDS, start_processes
from services.cli.training.datasets import loaded_dataset, refuse_while_features_runs
from services.knowledge.text_checks import RejectedText, accept_ready_made
from services.trainer.data.datasets import Dataset
from services.trainer.data.knowledge_rows import KnowledgeNotLoaded, KnowledgeRow
from services.trainer.knowledge.files import InvalidKnowledgeFile, KnowledgeText, check_name, read_texts, write_texts
from services.trainer.knowledge.imported import (
    OtherEncoder,
    Refused,
    UnfitText,
    merged,
    rows_of,
    rows_with_vectors,
    sort_out,
    texts_of,
)
from services.trainer.knowledge.vector_files import holds_vectors, read_vectors

COMPOSED = "catalogue"  # the provider whose texts may repeat themselves, as they are put together of facts


@dataclass(frozen=True)
class Imported:
    """How many texts were loaded, how many subjects now have knowledge, and the rows that were not taken."""

    loaded: int
    stored: int
    refused: list[Refused]


def import_texts(settings: CliSettings, path: Path, subject: str, model: str, show: bool) -> Imported:
    """Load the file's texts for `item` or `user` subjects. Raises BadInput, NotReady, ClientError.

    Knowledge of subjects that the file does not name stays. Where the file or folder holds vectors, these are taken,
    and no process is started.
    """
    with _file_errors():
        texts, vectors = read_vectors(path) if holds_vectors(path) else (read_texts(path), None)
    dataset = loaded_dataset(settings)
    refuse_while_features_runs(settings)
    taken, refused = sort_out(texts, _known_ids(dataset, subject), _check if vectors is None else _check_encoded)
    if not taken:
        first = f"; row {refused[0].row}, {refused[0].subject_id!r}: {refused[0].why}" if refused else ""
        raise BadInput(f"{path}: none of its {len(texts)} texts can be loaded{first}")
    if vectors is None:
        rows = _encoded(settings, taken, dataset.scenario, subject, model, show)
    else:
        rows = rows_with_vectors(taken, vectors, dataset.scenario, subject, model)
    stored = _merged(settings, subject, rows)
    from services.trainer.data.offline_store import load_knowledge  # with Feast, which takes seconds to load

    items, users = (stored, []) if subject == "item" else ([], stored)
    load_knowledge(dataset, items, users, settings.feature_directory)
    return Imported(len(rows), len(stored), refused)


def export_texts(settings: CliSettings, path: Path, subject: str, force: bool) -> int:
    """Write all stored texts of `item` or `user` subjects; returns how many. Raises BadInput, NotReady."""
    with _file_errors():
        check_name(path)
        if path.exists() and not force:
            raise BadInput(f"{path} is there already: give another file, or --force to overwrite it")
        from services.trainer.data.offline_store import stored_knowledge

        try:
            texts = texts_of(stored_knowledge(settings.feature_directory, subject))
        except KnowledgeNotLoaded as error:
            raise NotReady(str(error)) from error
        write_texts(path, texts)
    return len(texts)


def _encoded(
    settings: CliSettings, texts: list[KnowledgeText], scenario: str, subject: str, model: str, show: bool
) -> list[KnowledgeRow]:
    start_processes(settings, ["embedding"], show=show)
    address = LocalProcesses(settings).address("embedding")
    with EmbeddingClient(address, BULK_CALL_TIMEOUT_SECONDS) as embedding, progress_bar(show) as bar:
        task = bar.add_task(f"{subject}s: text to vector", total=len(texts))
        return rows_of(texts, scenario, subject, embedding, lambda n: bar.advance(task, n), model)


def _known_ids(dataset: Dataset, subject: str) -> set[str]:
    if subject == "item":
        return set(dataset.items)
    from services.trainer.data.offline_store import preference_histories

    return {history.user_id for history, _ in preference_histories(dataset)}


def _check(text: KnowledgeText) -> str:
    try:
        return accept_ready_made(text.text, composed=text.provider == COMPOSED)
    except RejectedText as error:
        raise UnfitText(str(error)) from error


def _check_encoded(text: KnowledgeText) -> str:
    if (accepted := _check(text)) != text.text:
        raise UnfitText("must be one line with single blanks: its vector is of another text")
    return accepted


def _merged(settings: CliSettings, subject: str, rows: list[KnowledgeRow]) -> list[KnowledgeRow]:
    from services.trainer.data.offline_store import stored_knowledge

    try:
        stored = stored_knowledge(settings.feature_directory, subject)
    except KnowledgeNotLoaded:
        stored = []
    try:
        return merged(stored, rows)
    except OtherEncoder as error:
        raise NotReady(str(error)) from error


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except InvalidKnowledgeFile as error:
        raise BadInput(str(error)) from error
