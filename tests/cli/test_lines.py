"""Messages on a terminal: lines are broken between words, commands stay whole, and a pipe gets what was written."""

import os
import pty
import termios
from contextlib import redirect_stderr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.terminal import show
from cli.terminal.lines import fold

LONG = "the machine is still running and ends itself at 23:35 or after an hour. Stop paying: gpujob down --cluster proj"


@pytest.fixture(autouse=True)
def without_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)


def say_on_terminal(text: str, columns: int) -> list[str]:
    """Say something where stderr is a terminal; return the lines that arrive there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    with os.fdopen(theirs, "w") as stream:
        with redirect_stderr(stream):
            show.say(text)
        stream.flush()
        said = os.read(ours, 10_000).decode()
    os.close(ours)
    return said.removesuffix("\r\n").split("\r\n")


def test_a_message_on_a_terminal_is_broken_between_words_and_its_command_stays_whole():
    lines = say_on_terminal(LONG, 40)
    assert all(len(line) <= 40 for line in lines)
    assert "gpujob down --cluster proj" in lines[-1]
    assert all(line.startswith("  ") for line in lines[1:])


def test_a_command_longer_than_a_line_is_not_broken_so_that_it_can_be_copied():
    command = f"gpujob run --env NAME={'x' * 30} train.py --epochs 3"
    assert any(command in line for line in say_on_terminal(f"  next: {command}", 40))


def test_a_message_into_a_file_is_not_broken(capsys):
    show.say(LONG)
    assert capsys.readouterr().err == f"{LONG}\n"


@given(st.lists(st.text("abc-/'.", min_size=1, max_size=30), max_size=20), st.integers(16, 100))
def test_no_word_is_broken_or_lost_at_any_width(words, width):
    folded = fold(" ".join(words), width)
    assert folded.split() == " ".join(words).split()
    assert all(len(line) <= width or " " not in line.strip() for line in folded.split("\n"))
