"""Messages on a terminal: lines are broken between words, commands stay whole, and a pipe gets what was written."""

import os
import pty
import sys
import termios
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.terminal import show
from cli.terminal.lines import add_links, fold

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


@pytest.mark.parametrize(
    ("variables", "links"),
    [
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "6003"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "3405"}, False),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "FORCE_HYPERLINK": "0"}, False),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "dumb", "FORCE_HYPERLINK": "1"}, False),
    ],
)
def test_paths_are_links_on_terminals_that_show_them_and_never_in_pipes(monkeypatch, capsys, variables, links):
    for name in (
        "TERM_PROGRAM",
        "VTE_VERSION",
        "FORCE_HYPERLINK",
        "NO_COLOR",
        "DOMTERM",
        "KONSOLE_VERSION",
        "WT_SESSION",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    path = Path("/runs/a b-1/\N{SNOWMAN}")
    show.say(f"wrote {path}", links=[path])
    assert capsys.readouterr().err == f"wrote {path}\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    show.say(f"wrote {path}", links=[path])
    linked = f"\x1b]8;;file:///runs/a%20b-1/%E2%98%83\x1b\\{path}\x1b]8;;\x1b\\"
    assert capsys.readouterr().err == f"wrote {linked if links else path}\n"


def test_an_address_with_an_escape_sequence_is_no_link():
    assert add_links("see x\x1b", ["x\x1b"]) == "see x\x1b"
