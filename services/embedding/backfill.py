"""Encodes and adapts a whole catalogue's texts ahead of the service, by the service's own code.

    python -m services.embedding.backfill --input texts.parquet --output vectors.parquet

The input is what `loreline knowledge export` writes, or any Parquet file or folder with the columns id and text. The
output is a folder, which `loreline knowledge import` loads. The rows are divided into partitions. With Ray installed
(the extra `ray`) they are done by actors on all processors of a cluster, without it one after the other in this
process. A run that was broken off goes on with the partitions that are missing.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import structlog

from services.embedding.adapter import Adapter
from services.embedding.encoder import Encoder
from services.embedding.encoder_export import EncoderUnavailable, exported_encoder
from services.embedding.partitions import Done, Job, OtherJob, PartitionWork, finish, open_output, unfinished
from services.embedding.settings import BackfillSettings
from services.embedding.text_partitions import InvalidTexts, Partition, divide, input_hash
from services.model_registry import ModelRegistry, NoSuchVersion
from services.runtime.logs import configure_logs
from services.runtime.process_settings import read_settings, refuse_to_start
from services.wheel_assets import AssetUnavailable

log = structlog.get_logger(__name__)


def main() -> None:
    """Read settings, do what is missing, log each partition. Ends with code 2 when settings or input do not fit."""
    settings = read_settings(BackfillSettings)
    configure_logs("backfill", settings.log_level)
    try:
        backfill(settings)
    except (InvalidTexts, OtherJob, EncoderUnavailable, AssetUnavailable) as error:
        refuse_to_start(str(error))


def backfill(settings: BackfillSettings) -> None:
    """Bring the output folder to its end.

    Raises InvalidTexts, OtherJob, EncoderUnavailable, services.wheel_assets.AssetUnavailable.
    """
    partitions, began, texts = divide(settings.input, settings.partition_rows), time.monotonic(), 0
    job = _job(settings)
    open_output(settings.output, job)
    missing = unfinished(settings.output, partitions)
    log.info("begun", partitions=len(partitions), done_before=len(partitions) - len(missing))
    for number, done in enumerate(_all(settings, job, missing) if missing else (), start=1):
        texts += done.texts
        pace = round(texts / (time.monotonic() - began), 1)
        log.info("partition done", **vars(done), left=len(missing) - number, texts_per_second=pace)
    finish(settings.output)
    log.info("finished", output=str(settings.output), texts=texts, seconds=round(time.monotonic() - began, 1))


def open_work(settings: BackfillSettings, job: Job) -> PartitionWork:
    """Open the encoder and the adaptor, in the process that uses them."""
    encoder = Encoder(
        exported_encoder(settings.encoder, settings.pooling),
        threads=settings.threads,
        batch_texts=settings.batch_texts,
        batch_tokens=settings.batch_tokens,
    )
    adapter = Adapter(ModelRegistry(settings.model_registry)) if settings.model_registry and job.model_version else None
    return PartitionWork(job, settings.output, encoder, adapter)


def _job(settings: BackfillSettings) -> Job:
    if settings.adaptor:
        _check_adaptor(settings)
    return Job(
        input_hash(settings.input),
        settings.partition_rows,
        exported_encoder(settings.encoder, settings.pooling).name,
        settings.subject,
        settings.adaptor,
    )


def _check_adaptor(settings: BackfillSettings) -> None:
    if settings.model_registry is None:
        refuse_to_start("--model-registry: must be given with --adaptor")
    try:
        manifest = ModelRegistry(settings.model_registry).manifest(settings.adaptor)
    except NoSuchVersion:
        refuse_to_start(f"--adaptor: there is no model version {settings.adaptor!r} in {settings.model_registry}")
    encoder = exported_encoder(settings.encoder, settings.pooling).name
    if manifest.encoder != encoder:
        refuse_to_start(f"--adaptor: version {settings.adaptor} was trained on {manifest.encoder}, not on {encoder}")


def _all(settings: BackfillSettings, job: Job, missing: Sequence[Partition]) -> Iterator[Done]:
    opening = partial(open_work, settings, job)
    if not _use_ray(settings):
        return _in_process(opening, missing)
    from services.embedding.ray_partitions import on_ray

    workers = settings.workers or max(1, len(os.sched_getaffinity(0)) // settings.threads)
    return on_ray(opening, missing, address=settings.ray_address, workers=workers, threads=settings.threads)


def _use_ray(settings: BackfillSettings) -> bool:
    installed = importlib.util.find_spec("ray") is not None
    if settings.engine == "ray" and not installed:
        refuse_to_start("--engine: Ray is not installed: pip install 'loreline[ray]', or leave --engine out")
    if settings.engine == "auto" and not installed:
        log.warning("Ray is not installed: one partition after the other, in this process")
    return installed and settings.engine != "process"


def _in_process(opening: Callable[[], PartitionWork], missing: Sequence[Partition]) -> Iterator[Done]:
    work = opening()
    yield from map(work, missing)


if __name__ == "__main__":
    main()
