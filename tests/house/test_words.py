"""Messages, help and suggested commands: plain English, whole at 80 columns, and accepted when typed."""

import re
from pathlib import Path

import click
import pytest

from cli.main import gpujob
from cli.terminal import lines
from tests import words
from tests.conftest import REPOSITORY
from tests.words import Text

BANNED = [
    "def f():\n    raise UsageError('no such job', 'mend it, then type it again')\n",
    "def f(n):\n    show.say(f'{n} still runs; ends it all the same')\n",
    "def f(usd):\n    show.say(f'{usd:.3f} USD an hour')\n",
    "def f():\n    what = f'{n} is no number of hours'\n",
    "@option('--a', help='GPU by name; else a T4.')\ndef f(): pass\n",
    "def f():\n    return {'cost': f'{amount} a month'}\n",
    "def f(flag):\n    raise UsageError('no such group', f'leave out --{flag}')\n",
    "def f(names):\n    what = f'no column; there are: {names}'\n",
    "def f(path):\n    show.say(f'{path} leads out of the project')\n",
]
BANNED_INSIDE = [
    '"""Say so where nobody asked."""\n',
    'def f():\n    """Return the files.\n\n    Raises ProjectError for one that can no longer be had.\n    """\n',
    "x = 1  # it is no error\n",
    "# what the machine lacks\n",
]
INVALID = [
    "def f(name):\n    raise UsageError('x', f'gpujob dwon {name}')\n",
    "def f(name):\n    show.say(f'Stop it: gpujob stop {name} --now')\n",
    "def f(name):\n    error.add_note(f'then: gpujob jobs{flag} remove {name}')\n",
    "def f(name):\n    error.add_note(f'gpujob logs {name} other')\n",
    "def f(name):\n    show.say('Try: gpujob local break boot=5')\n",
]


def test_no_message_has_a_phrase_that_is_not_plain_english():
    assert words.find_banned(words.read_messages(REPOSITORY)) == []


def test_no_docstring_or_comment_has_a_phrase_that_is_not_plain_english():
    assert words.find_banned(words.read_remarks(REPOSITORY), words.BANNED_INSIDE) == []


def test_the_first_line_of_every_docstring_is_short():
    assert words.find_long_docstrings(REPOSITORY) == []


def test_no_help_has_a_phrase_that_is_not_plain_english():
    assert words.find_banned(words.read_help(gpujob)) == []


def test_no_line_break_of_help_splits_a_word_or_a_command_at_80_columns():
    assert words.find_broken(gpujob) == []


def test_no_line_break_of_a_message_splits_a_word_or_a_command_at_80_columns():
    assert words.find_split(words.read_messages(REPOSITORY)) == []


def test_every_command_that_a_message_suggests_is_accepted():
    assert words.find_invalid(words.read_commands(words.read_messages(REPOSITORY)), gpujob) == []


def test_every_command_in_help_is_accepted():
    shown = (Text(one.where, one.text.partition("\n")[2]) for one in words.read_help(gpujob))  # not the usage line
    assert words.find_invalid(words.read_commands(shown), gpujob) == []


def test_every_command_in_the_docs_is_accepted():
    assert words.find_invalid(words.read_commands(words.read_pages(REPOSITORY)), gpujob) == []


def test_many_messages_helps_and_commands_are_looked_at():
    messages = [*words.read_messages(REPOSITORY)]
    assert len(messages) > 300
    assert len([*words.read_remarks(REPOSITORY, ("jobs",))]) > 500
    assert len([*words.read_commands(iter(messages))]) > 40
    assert len([*words.read_help(gpujob)]) > 30
    assert len([*words.read_commands(words.read_pages(REPOSITORY))]) > 40


def plant(folder: Path, text: str) -> Path:
    """Write a tree with one file in it."""
    (folder / "cli").mkdir()
    (folder / "cli" / "breach.py").write_text(text)
    return folder


@pytest.mark.parametrize("text", BANNED)
def test_a_banned_phrase_is_found(tmp_path, text):
    assert len(words.find_banned(words.read_messages(plant(tmp_path, text)))) == 1


@pytest.mark.parametrize("text", BANNED_INSIDE)
def test_a_banned_phrase_in_a_docstring_or_a_comment_is_found(tmp_path, text):
    assert len(words.find_banned(words.read_remarks(plant(tmp_path, text)), words.BANNED_INSIDE)) == 1


def test_code_in_backticks_is_no_phrase_of_a_docstring(tmp_path):
    assert words.find_banned(words.read_remarks(plant(tmp_path, '"""Call `told`."""\n')), words.BANNED_INSIDE) == []


def test_a_long_first_line_of_a_docstring_is_found(tmp_path):
    folder = plant(tmp_path, f'def f():\n    """{"Word " * 30}."""\n')
    assert words.find_long_docstrings(folder) == ["cli/breach.py:2: 151 characters"]


@pytest.mark.parametrize("text", INVALID)
def test_a_suggestion_that_cannot_be_typed_is_found(tmp_path, text):
    suggested = words.read_commands(words.read_messages(plant(tmp_path, text)))
    assert len(words.find_invalid(suggested, gpujob)) == 1


def test_a_page_with_an_unknown_command_is_found(tmp_path):
    (tmp_path / "README.md").write_text("Type `gpujob dwon`.\n\n    gpujob up --gup T4   # a GPU\n    gpujob up\n")
    assert len(words.find_invalid(words.read_commands(words.read_pages(tmp_path)), gpujob)) == 2


def test_a_message_that_a_line_break_splits_is_found(monkeypatch):
    said = Text("a.py:1", f"{'word ' * 13}follow: gpujob logs --follow 3; or {'word ' * 20}")
    assert words.find_split(iter([said])) == []
    monkeypatch.setattr(lines, "TYPED", re.compile("(?!)"))
    assert words.find_split(iter([said])) != []
    monkeypatch.setattr(words, "fold", lambda text, _: text)
    assert words.find_split(iter([Text("a.py:1", "word " * 20)])) != []


@pytest.mark.parametrize(
    "text",
    [
        "Print more than fits on the line that this help is given here, which well-formed-words do not.",
        "Print more than fits on the line of a terminal that is this narrow: gpujob logs --follow",
        "x" * 90,
    ],
)
def test_help_that_a_line_break_splits_is_found(monkeypatch, text):
    monkeypatch.setattr(click.Context, "formatter_class", click.HelpFormatter)
    assert words.find_broken(click.Command("gpujob", help=text)) != []
