"""Serves a process' metrics to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, start_http_server

from services.runtime.process_settings import refuse_to_start
from services.runtime.worker import worker_number


def serve_metrics(registry: CollectorRegistry, address: str) -> None:
    """Serve `http://ADDRESS/metrics` from a thread until the process ends; an empty address serves nothing.

    A worker adds its number to the port: every process is a target of its own, whose gauges are its own.
    Exits with code 2 when the address is not host:port or cannot be bound.
    """
    if not address:
        return
    host, _, port = address.rpartition(":")
    try:
        start_http_server(int(port) + (worker_number() or 0), host, registry)
    except (ValueError, OSError) as error:
        refuse_to_start(f"metrics_address: must be a host:port that is free, is {address!r}: {error}")
