"""Progress on stderr: the current step, bytes transferred, or that a silent program still runs."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TextIO

from cli.terminal.formats import size
from cli.terminal.show import say
from infra.base.text import one_line

SILENT_S = 1.0
QUIET_S, ASK_EVERY_S = 5.0, 15.0
LONG_BYTES = 100_000_000


def can_animate(stream: TextIO) -> bool:
    """Return whether a stream is a terminal on which a line can be drawn again."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


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
def steps(ago_s: float = 0.0) -> Iterator[Steps]:
    """Yield a function that reports a step: a spinner on a terminal, otherwise a line; each began `ago_s` before."""
    if not can_animate(sys.stderr):
        yield Steps(lambda text: say(f"{text}..."))
        return
    # imported only when drawing on a terminal
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", visible=False)

        def begin(text: str) -> None:
            bar.reset(task, description=one_line(text), visible=True)
            bar.tasks[0].start_time = bar.get_time() - ago_s

        yield Steps(begin, lambda text: bar.update(task, description=one_line(text)))


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner on a terminal if what the caller does takes over a second."""
    if not can_animate(sys.stderr):
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
    if not can_animate(sys.stderr):
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


class Silence:
    """Shows a spinner while nothing is written; `describe` says what the program does, and may take its time."""

    def __init__(self, describe: Callable[[], str], may_show: Callable[[], bool] = lambda: True) -> None:
        """Start hidden; `may_show` tells whether the cursor is at the start of a line."""
        self.describe = describe
        self.may_show = may_show
        self.lock = threading.RLock()
        self.since = time.monotonic()
        self.shown = ExitStack()
        self.steps: Steps | None = None
        self.done = threading.Event()
        self.watch = threading.Thread(target=self.go_on, name="silence", daemon=True)

    def __enter__(self) -> "Silence":
        """Begin to watch, if stdout and stderr are a terminal that can show it."""
        if can_animate(sys.stderr) and can_animate(sys.stdout):
            self.watch.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Hide the spinner for good."""
        self.done.set()
        with self.lock:
            self.hide()

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Hide the spinner while something is written."""
        with self.lock:
            self.hide()
            try:
                yield
            finally:
                self.since = time.monotonic()

    def hide(self) -> None:
        """Remove the spinner, if it is shown."""
        self.shown.close()
        self.steps = None

    def go_on(self) -> None:
        """Show the spinner after some silence, and say at intervals what the program does."""
        asked = -ASK_EVERY_S
        while not self.done.wait(min(QUIET_S, 1.0) / 2):
            if not self.is_silent() or (self.steps and time.monotonic() - asked < ASK_EVERY_S):
                continue
            text, asked = self.describe(), time.monotonic()
            with self.lock:
                if self.is_silent() and not self.done.is_set():
                    self.show(text)

    def is_silent(self) -> bool:
        """Return whether nothing was written for long enough to say so."""
        return time.monotonic() - self.since >= QUIET_S and self.may_show()

    def show(self, text: str) -> None:
        """Show or change the text beside the spinner."""
        if self.steps is None:
            self.steps = self.shown.enter_context(steps(time.monotonic() - self.since))
            self.steps(text)
        elif self.steps.update:
            self.steps.update(text)
