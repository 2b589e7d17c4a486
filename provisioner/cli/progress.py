"""How far a job is, as a bar that moves: on the terminal's error stream, so that pipes stay clean."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from provisioner.domain.records import Job


@contextmanager
def bar(label: str) -> Iterator[Callable[[Job], None]]:
    """What to call with the job whenever it went on; draws nothing where nobody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as drawn:
        task = drawn.add_task(label, total=None, failed="")

        def step(job: Job) -> None:
            failed = sum(1 for result in job.result.values() if not result["ok"])
            drawn.update(task, completed=job.done, total=job.total, failed=f"{failed} failed" if failed else "")

        yield step
