"""Begins two Kafka clients at the same moment, in a fresh process: `python -m ... MODULE ADDRESS`, MODULE the clients'.

A class that is made while answers are read is made slowly, and last by the thread that began first.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import sys
import threading
import time

from kafka.protocol.api_message import ApiMessage


def main() -> None:
    clients, address = importlib.import_module(sys.argv[1]), sys.argv[2]
    made, begun = itertools.count(), ApiMessage.__init_subclass__.__func__

    def slowly(cls: type[ApiMessage], **options: object) -> None:
        begun(cls, **options)
        time.sleep(0.5 / 2 ** next(made))

    ApiMessage.__init_subclass__ = classmethod(slowly)
    together = threading.Barrier(2)

    def begin() -> None:
        together.wait()
        clients.KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=20_000).close()

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    clients.KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=20_000).close()
    sys.stdout.write("all three began\n")


if __name__ == "__main__":
    main()
