"""Progress on stderr: the current step, or bytes transferred."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.terminal.show import say
from infra.base.text import one_line


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield a function that reports a step: a spinner on a terminal, otherwise a line."""
    if not sys.stderr.isatty():
        yield lambda text: say(f"{text}...")
        return
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda text: bar.reset(task, description=one_line(text))


class Counter:
    """Counts transferred bytes and passes each increment to the display."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self.total = 0
        self.advance = advance

    def __call__(self, count: int) -> None:
        """Add a number of bytes."""
        self.total += count
        self.advance(count)


@contextmanager
def transfer(what: str, total_bytes: int | None = None) -> Iterator[Counter]:
    """Yield a byte counter, shown as a progress bar on a terminal."""
    if not sys.stderr.isatty():
        yield Counter(lambda _: None)
        return
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), DownloadColumn(), TransferSpeedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total_bytes)

    def advance(count: int) -> None:
        bar.start()  # started late: a confirmation prompt may come first
        bar.advance(task, count)

    try:
        yield Counter(advance)
    finally:
        bar.stop()
