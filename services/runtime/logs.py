"""Structured logs to standard error, one JSON object a line. Events and ids only: never prompts or user text."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from services.runtime.worker import worker_number

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def configure_logs(process: str, level: str = "INFO") -> None:
    """Log from `level` (a LogLevel) up, every line carrying the process's name. Call once, from main().

    Lines of a worker carry its number too.
    """
    origin = {"process": process} | ({} if worker_number() is None else {"worker": worker_number()})
    structlog.configure(
        processors=[
            lambda _logger, _method, event: {**event, **origin},
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # text and newline at once: workers share the stream
    )
