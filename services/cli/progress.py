"""Progress bars of long commands, on standard error, so that standard output holds the result alone."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from services.cli import output


class RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """The mean rate of the last seconds; nothing before there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


def counting_bar(show: bool) -> Progress:
    """A bar that says how many of how many, how fast, and for how long still; nothing where `show` is false."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=output.errors, transient=True, disable=not (show and output.errors.is_terminal))


def progress_bar(show: bool = True) -> Progress:
    """A bar on the console for each task that is added; nothing where `show` is false."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=output.console, transient=not output.console.is_terminal, disable=not show)
