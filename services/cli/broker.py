"""What every command does that speaks to the broker itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import KafkaError

from services.cli.local_processes import accepts_connections
from services.cli.output import NotReady
from services.runtime.kafka_clients import KafkaAdminClient

BOOTSTRAP_TIMEOUT_MS = 5000
HINT = "Is it up? `loreline status` shows it, `loreline up broker` starts a local one."


@contextmanager
def broker_errors(bootstrap_servers: str) -> Iterator[None]:
    """Raise NotReady with the broker's address when none accepts connections, and for what it raises inside."""
    if not any(accepts_connections(server) for server in bootstrap_servers.split(",")):
        raise NotReady(f"no broker answers at {bootstrap_servers}\n{HINT}")  # kafka-python would leave sockets open
    try:
        yield
    except KafkaError as error:
        raise NotReady(f"the broker at {bootstrap_servers} failed: {error!r}\n{HINT}") from error


@contextmanager
def administering(bootstrap_servers: str) -> Iterator[KafkaAdminClient]:
    """A connection for questions about topics. Raises NotReady."""
    with broker_errors(bootstrap_servers):
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap_servers.split(","), bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS
        )
        try:
            yield admin
        finally:
            admin.close()
