"""Progress on a terminal: percent that end at 100, a sign of life while a job is silent, and nothing of either in a pipe."""

import os
import pty
import re
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import TextIO

import pytest

from cli.terminal import progress
from cli.terminal.show import say

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def terminal(monkeypatch) -> None:
    for name in ("COLUMNS", "LINES", "NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def show_on_terminal(act: Callable[[TextIO], None]) -> str:
    """Act where stdout and stderr are one terminal, 80 columns wide; return all that was written to it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    parts: list[bytes] = []
    reader = threading.Thread(target=lambda: parts.extend(read_all(ours)))
    reader.start()
    with os.fdopen(theirs, "w") as stream, redirect_stderr(stream), redirect_stdout(stream):
        act(stream)
    reader.join()
    os.close(ours)
    return b"".join(parts).decode()


def read_all(terminal: int) -> Iterator[bytes]:
    """Yield what is written to a terminal until all of its other ends are closed."""
    try:
        while chunk := os.read(terminal, 65536):
            yield chunk
    except OSError:  # that is how a terminal ends
        return


def download(stream: TextIO) -> None:
    """Show a download of 50 MB in ten parts."""
    with progress.transfer("downloading") as arrived:
        arrived.expect(50_000_000)
        for _ in range(10):
            arrived(5_000_000)


def test_a_download_shows_bytes_and_percent_that_end_at_a_hundred_and_leaves_nothing():
    said = show_on_terminal(download)
    shown = ESCAPES.sub("", said)
    percents = [int(number) for number in re.findall(r"(\d+)%", shown)]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert "downloading 50.0/50.0 MB 100%" in shown
    assert said.endswith(("\x1b[2K", "\x1b[1A\x1b[2K", "\x1b[?25h"))
    assert "\x1b[?25h" in said.rpartition("\x1b[?25l")[2]  # the cursor is back


def test_without_colours_a_download_shows_the_same(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    said = show_on_terminal(download)
    assert "100%" in said
    assert not re.search(r"\x1b\[(3|9)\d", said)


def test_a_terminal_that_cannot_go_back_gets_lines_and_no_control_characters(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")

    def act(stream: TextIO) -> None:
        with progress.steps() as report, progress.waiting("waiting"):
            report("looking for machines")
        say("job 1 failed", colour="red")
        download(stream)

    assert show_on_terminal(act) == "looking for machines...\r\njob 1 failed\r\n"


def test_a_pipe_gets_no_control_characters(capsys):
    download(sys.stderr)
    with progress.Silence(lambda: "silent") as silence, silence.broken():
        assert not silence.watch.is_alive()
    assert capsys.readouterr() == ("", "")


def test_a_silent_job_shows_that_it_runs_until_it_prints_something(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    asked = threading.Event()

    def describe() -> str:
        asked.set()
        return "job 3 is running; no output for"

    def act(stream: TextIO) -> None:
        with progress.Silence(describe) as silence:
            assert asked.wait(60)
            while silence.steps is None:
                assert silence.watch.is_alive()
            monkeypatch.setattr(progress, "QUIET_S", 1e9)
            with silence.broken():
                stream.write("epoch 1\n")

    said = show_on_terminal(act)
    assert re.search(r"job 3 is running; no output for 0:00:0\d", ESCAPES.sub("", said))
    assert ESCAPES.sub("", said).endswith("epoch 1\r\n")
    assert re.search(r"\x1b\[2K[^\n]*epoch 1", said), "it was not erased before"


def test_nothing_is_shown_in_the_middle_of_a_line(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    asked = threading.Event()

    def may_show() -> bool:
        asked.set()
        return False

    def act(stream: TextIO) -> None:
        with progress.Silence(lambda: "silent", may_show):
            stream.write("epoch 1: 40%")
            assert asked.wait(60)

    assert show_on_terminal(act) == "epoch 1: 40%"
