"""Progress on stderr while a command works: the step it is at, the bytes it has transferred."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.terminal.show import say
from infra.base.text import one_line


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield a function that reports a step: a spinner with its time on a terminal, else a line."""
    if not sys.stderr.isatty():
        yield lambda text: say(f"{text} ...")
        return
    # rich is loaded only where there is a terminal to draw on
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda text: bar.reset(task, description=one_line(text))


class Counter:
    """Counts transferred bytes and passes each number on to what shows them."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self.total = 0
        self.advance = advance

    def __call__(self, count: int) -> None:
        """Add a number of bytes."""
        self.total += count
        self.advance(count)


@contextmanager
def transfer(what: str) -> Iterator[Counter]:
    """Yield a counter of bytes: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield Counter(lambda _: None)
        return
    # rich is loaded only where there is a terminal to draw on
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), DownloadColumn(), TransferSpeedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def advance(count: int) -> None:
        bar.start()  # only now: before, there may be a question to answer
        bar.advance(task, count)

    try:
        yield Counter(advance)
    finally:
        bar.stop()
