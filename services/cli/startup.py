"""Starts local processes in their order and waits for each."""

from __future__ import annotations

from collections.abc import Sequence

from services.cli.local_processes import NAMES, LocalProcesses, ProcessStatus, StartFailed
from services.cli.output import NotReady, console
from services.cli.settings import CliSettings
from services.model_registry import ModelRegistry

BULK_CALL_TIMEOUT_SECONDS = 600.0  # of one call about a page of texts
INDEPENDENT = ("broker", "knowledge", "embedding", "features")


def start_processes(settings: CliSettings, names: Sequence[str], show: bool = True) -> LocalProcesses:
    """Start those of `names` that do not run, then wait until they are ready. Raises NotReady.

    Before a model version was promoted, ranking cannot be ready: then it is enough that it answers. The updater is
    waited for only where all that it depends on was started too.
    """
    processes = LocalProcesses(settings)
    ordered = [name for name in NAMES if name in names]
    started = [name for name in ordered if processes.start(name)]
    registry = ModelRegistry(settings.model_registry)
    promoted = any(traffic.active for traffic in registry.traffic_by_kind().values())
    for name in ordered:
        ready = name in INDEPENDENT or (promoted and name == "ranking")
        ready = ready or (name == "updater" and all(processes.status(other).live for other in INDEPENDENT))
        _wait(processes, name, ready)
        if show:
            verb = "started" if name in started else "is set" if processes.is_set(name) else "runs already"
            console.print(f"  {name} {verb} on {processes.address(name)}{'' if ready else ' (not ready yet)'}")
    if show and "ranking" in ordered and not promoted:
        newest = int(registry.next_version()) - 1
        steps = (
            f"`loreline models promote {newest}`" if newest else "`loreline train`, then `loreline models promote 1`"
        )
        console.print(f"  ranking waits for a model: {steps}", style="yellow")
    return processes


def _wait(processes: LocalProcesses, name: str, for_ready: bool) -> None:
    def answers(status: ProcessStatus) -> bool:
        return status.ready if for_ready else status.live

    try:
        processes.wait_until(name, answers)
    except StartFailed as error:
        raise NotReady(str(error)) from error
