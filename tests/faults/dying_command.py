"""The `loreline` command, killed at a call of what it does: DIE_AT="adapt 3" is at the third call of `adapt`."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

from loreline.client import EmbeddingClient, FeaturesClient
from services.cli.__main__ import main
from services.model_registry import ModelRegistry

OWNERS = {"adapt": EmbeddingClient, "put_augmented": FeaturesClient, "direct": ModelRegistry}


def dying(call: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The call, which kills the process at its n-th time."""
    times = itertools.count(1)

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(times) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return counted


if __name__ == "__main__":
    name, number = os.environ["DIE_AT"].split()
    setattr(OWNERS[name], name, dying(getattr(OWNERS[name], name), int(number)))
    main()
