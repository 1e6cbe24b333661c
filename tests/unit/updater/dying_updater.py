"""An updater with a bug in the thread of its content stage: it dies at once."""

from __future__ import annotations

import threading

from kafka import ConsumerRebalanceListener

from services.runtime.kafka_clients import KafkaConsumer
from services.updater import __main__ as updater


class DyingConsumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Raises what nobody expects."""

    joined = False

    def run(self, consumer: KafkaConsumer, stopping: threading.Event) -> None:
        raise RuntimeError("a bug")

    def on_partitions_assigned(self, assigned: object) -> None:
        """Nothing."""

    def on_partitions_revoked(self, revoked: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    updater.content_consumer = lambda settings, to: DyingConsumer()  # type: ignore[assignment,return-value]
    updater.main()
