"""Links in listings: a click opens what a number or a path means, and nothing else of the table changes."""

import io
import re
import sys
from pathlib import Path

import pytest

from cli.terminal import show
from cli.terminal.show import Linked

OPENED, CLOSED = re.compile(r"\x1b\]8;[^;]*;([^\x1b]+)\x1b\\"), "\x1b]8;;\x1b\\"
ROWS = [
    {"run": Linked("12", Path("/runs/a b-12")), "state": "succeeded", "command": "python train.py " * 6},
    {"run": "7", "state": "failed", "command": "cat"},
]


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def list_rows(monkeypatch, stream: io.StringIO, **variables: str) -> str:
    for name in ("NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "LINES": "40", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    show.listing(ROWS, False)
    return stream.getvalue()


def test_a_cell_of_a_listing_is_a_link_and_no_column_becomes_wider(monkeypatch):
    linked = list_rows(monkeypatch, Terminal(), FORCE_HYPERLINK="1")
    unlinked = list_rows(monkeypatch, Terminal(), FORCE_HYPERLINK="0")
    assert OPENED.findall(linked) == ["file:///runs/a%20b-12"]
    assert OPENED.sub("", linked).replace(CLOSED, "") == unlinked
    assert re.search(r"\x1b\\12\x1b\]8;;\x1b\\", linked)


def test_colours_and_links_do_not_depend_on_each_other(monkeypatch):
    said = list_rows(monkeypatch, Terminal(), FORCE_HYPERLINK="1", NO_COLOR="1")
    assert OPENED.findall(said)
    assert not re.search(r"\x1b\[3\dm", said)


@pytest.mark.parametrize("variables", [{"TERM": "dumb", "FORCE_HYPERLINK": "1"}, {"FORCE_HYPERLINK": "0"}])
def test_a_terminal_that_shows_no_links_gets_none(monkeypatch, variables):
    assert "]8;" not in list_rows(monkeypatch, Terminal(), **variables)


def test_a_pipe_gets_tabs_and_no_control_characters(monkeypatch):
    said = list_rows(monkeypatch, io.StringIO(), FORCE_HYPERLINK="1")
    assert said.startswith("run\tstate\tcommand\n12\tsucceeded\tpython train.py")
    assert "\x1b" not in said


def test_an_address_with_control_characters_is_no_link(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROWS", [{"run": Linked("12", "https://x/\x1b]8;;y")}])
    assert "]8;" not in list_rows(monkeypatch, Terminal(), FORCE_HYPERLINK="1")
