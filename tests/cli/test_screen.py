"""A job's output at a terminal: its colours and progress bars arrive, what would steer the terminal does not."""

import io
import re
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli.terminal.output import Output
from cli.terminal.screen import ALLOWED, Screen
from infra.base.text import one_line, printable
from tests.conftest import REPOSITORY

LETTERS = ("\x1b", *"[]P_?mAJ3nch\\$ \x07\x0e\r\n\b", "52;c;", "0;", "31", "\x9b", "\x9c", "盛")
PIECES = st.lists(st.sampled_from([b"\x9b", b"\xff", *(letter.encode() for letter in LETTERS)]), max_size=40)
SEQUENCE = re.compile(r"\x1b\[([0-?]*[ -/]*[@-~])")


def watch(*chunks: bytes) -> str:
    screen = Screen()
    return "".join([*map(screen.show, chunks), screen.show(b"", final=True)])


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[1;38;5;208mloss\x1b[0m 0.1",
        "\r 10%|#   |\r 50%|##  |",
        "one\ntwo\x1b[A\r\x1b[2Ktwo again\n",
        "\x1b[?25l|\b/\b-\x1b[?25h",
        "\tcolumns\t盛 😀 ünï\n",
    ],
)
def test_colours_and_progress_bars_arrive(text):
    assert watch(text.encode()) == text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"\x1b]52;c;ZXZpbA==\x07text", "text"),  # the clipboard
        (b"\x1b]0;title\x1b\\text", "text"),
        (b"\x1b]8;;http://a.example\x1b\\text\x1b]8;;\x1b\\", "text"),
        (
            b"\x1b[6n\x1b[c\x1b[>c\x1bZ\x05\x1b[18t\x1b[?2004$ptext",
            "text",
        ),  # questions: the answer is typed into the shell
        (b"\x1bP+q544e\x1b\\\x1b_G\x1b\\text", "text"),
        (b"\x1b[?1000h\x1b[?1049h\x1b[?2004htext", "text"),  # the mouse, another screen, pasting
        (b"\x1b[3Jtext", "text"),  # what was scrolled away
        (b"\x1bc\x1b#8\x1b(0\x0etext", "text"),
        ("\x9b31m\x9d0;x\x9ctext".encode(), "31m0;xtext"),  # the same in one character
        (b"\x1b]0;without an end\ntext", "\ntext"),
        (b"text\x1b[", "text["),
        (b"te\xffxt", "te\N{REPLACEMENT CHARACTER}xt"),
    ],
)
def test_what_would_steer_the_terminal_does_not(said, shown):
    assert watch(said) == shown
    assert watch(*(said[at : at + 1] for at in range(len(said)))) == shown


@given(PIECES)
@example([b"\x1b", b"\x1b", b"]", b"\x1b", b"[", b"31", b"m"])
def test_no_output_brings_more_than_what_is_allowed(pieces):
    shown = watch(b"".join(pieces))
    assert all(ALLOWED.fullmatch(found[1]) for found in SEQUENCE.finditer(shown))
    rest = SEQUENCE.sub("", shown)
    assert printable(rest.translate({ord(c): "" for c in "\b\t\n\r"})) == rest.translate(
        {ord(c): "" for c in "\b\t\n\r"}
    )


@given(PIECES)
def test_it_does_not_matter_where_the_output_was_cut(pieces):
    assert watch(*pieces) == watch(b"".join(pieces))


def test_a_sequence_without_an_end_does_not_hold_the_rest_back():
    screen = Screen()
    assert "text" in screen.show(b"\x1b]0;" + b"x" * 10_000 + b"\ntext")
    screen.show(b"\x1b]" + b"y" * 10_000)
    assert not screen.held
    assert screen.show(b"more text\n") == "more text\n"


def test_the_terminal_is_left_without_colours_and_with_a_cursor(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    stream = io.BytesIO()
    output = Output(raw=True, stream=stream)
    output.write(b"\x1b[?25l\x1b[31mred\n")
    assert output.ends_a_line
    output.flush()
    assert stream.getvalue() == b"\x1b[?25l\x1b[31mred\n\x1b[0m\x1b[?25h"


def test_everything_but_a_job_s_output_is_printed_in_one_place():
    """That is where control characters are taken out."""
    elsewhere = re.compile(
        r"click\.(?:echo|secho|style)|\bprint\(|sys\.std(?:out|err)\.(?:write|buffer)|console\.print"
    )
    for path in (REPOSITORY / "cli").rglob("*.py"):
        if path.name not in ("show.py", "output.py", "templates.py"):  # the last has scripts for users
            assert elsewhere.findall(path.read_text()) == [], path.name


@given(st.text(st.characters() | st.sampled_from("\x1b\x9b\u202e\u2066\u200b\0\n\t\ud800\udcff"), max_size=40))
def test_a_printable_text_is_one_line_that_steers_nothing(text):
    assert printable(text).isprintable()
    assert one_line(text).isprintable()
    assert one_line(text.encode(errors="surrogatepass") * 1000).isprintable()
    assert len(one_line(text * 1000)) <= 500
    assert printable("plain äöü 盛 \N{GRINNING FACE}") == "plain äöü 盛 \N{GRINNING FACE}"
