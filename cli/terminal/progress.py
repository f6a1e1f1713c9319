"""Progress on stderr: the current step, or bytes transferred."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cli.terminal.formats import size
from cli.terminal.show import say
from infra.base.text import one_line

SILENT_S = 1.0
LONG_BYTES = 100_000_000


class Steps:
    """Reports the current step, and on a terminal how far it is."""

    def __init__(self, begin: Callable[[str], object], update: Callable[[str], object] | None = None) -> None:
        self.begin = begin
        self.update = update
        self.text = ""

    def __call__(self, text: str) -> None:
        """Report that a step begins."""
        self.text = text
        self.begin(text)

    def advance(self, done: str) -> None:
        """Show how far the step is: 1.2 GB of 5.0 GB, 24%."""
        if self.update:
            self.update(f"{self.text}: {done}")


@contextmanager
def steps() -> Iterator[Steps]:
    """Yield a function that reports a step: a spinner on a terminal, otherwise a line."""
    if not sys.stderr.isatty():
        yield Steps(lambda text: say(f"{text}..."))
        return
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield Steps(
            lambda text: bar.reset(task, description=one_line(text)),
            lambda text: bar.update(task, description=one_line(text)),
        )


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner on a terminal if what the caller does takes over a second."""
    if not sys.stderr.isatty():
        yield
        return
    with ExitStack() as shown:

        def begin() -> None:
            shown.enter_context(steps())(text)

        timer = threading.Timer(SILENT_S, begin)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


class Counter:
    """Counts transferred bytes and passes each increment to the display."""

    def __init__(self, advance: Callable[[int], object], resize: Callable[[int], object] = lambda _: None) -> None:
        self.total = 0
        self.advance = advance
        self.resize = resize

    def expect(self, count: int) -> None:
        """Set how many more bytes will come."""
        self.resize(self.total + count)

    def __call__(self, count: int) -> None:
        """Add a number of bytes."""
        self.total += count
        self.advance(count)


@contextmanager
def transfer(what: str, total_bytes: int | None = None) -> Iterator[Counter]:
    """Yield a byte counter, shown as a progress bar on a terminal, and as a line elsewhere if it may take long."""
    if not sys.stderr.isatty():
        if (total_bytes or 0) >= LONG_BYTES:
            say(f"{what} ({size(total_bytes or 0)})...")
        yield Counter(lambda _: None)
        return
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.progress import (
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TransferSpeedColumn,
    )

    what_column = TextColumn("{task.description}", markup=False)
    percent = TaskProgressColumn("{task.percentage:>3.0f}%", "")
    bar = Progress(
        SpinnerColumn(),
        what_column,
        DownloadColumn(),
        percent,
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(what, total=total_bytes)

    def advance(count: int) -> None:
        bar.start()  # started late: a confirmation prompt may come first
        bar.advance(task, count)

    try:
        yield Counter(advance, lambda total: bar.update(task, total=total))
    finally:
        bar.stop()
