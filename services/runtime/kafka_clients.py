"""Kafka's clients, without two faults of kafka-python 3.0.12: everything here makes them through this module.

It makes the class of an answer's version when it first reads one, and remembers the class by a weak reference. Where
two clients' threads read their first answers at the same moment each makes one, and it may be the forgotten one that is
remembered: from then on the process cannot read that answer any more, from whatever broker, and every new client times
out. So all of them are made at import, by one thread.

A client whose broker does not answer raises from its constructor, and leaves its thread and its sockets behind: a
process that waits for a broker would end with thousands. They are closed.
"""

from __future__ import annotations

from typing import Any

import kafka
from kafka.net.compat import KafkaNetClient
from kafka.protocol.api_message import ApiMessage

for _message in ApiMessage.__subclasses__():
    if _message._class_version is None:
        for _version in range(len(_message)):
            _message[_version]


class _ClosedWhenItFails:
    """Closes what the client's constructor opened before it raised."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        opened: list[KafkaNetClient] = []

        def connections(**chosen: Any) -> KafkaNetClient:
            opened.append(KafkaNetClient(**chosen))
            return opened[-1]

        try:
            super().__init__(*arguments, kafka_client=connections, **options)  # type: ignore[call-arg]
        except BaseException:
            for client in opened:
                client.close()
            raise


class KafkaAdminClient(_ClosedWhenItFails, kafka.KafkaAdminClient):  # type: ignore[misc]  # it has no types
    """As kafka-python's."""


class KafkaConsumer(_ClosedWhenItFails, kafka.KafkaConsumer):  # type: ignore[misc]  # it has no types
    """As kafka-python's."""


class KafkaProducer(_ClosedWhenItFails, kafka.KafkaProducer):  # type: ignore[misc]  # it has no types
    """As kafka-python's."""
