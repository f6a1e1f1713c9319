"""The table of commands: what `gpujob --help` says of each without importing it."""

import shlex

import click
import pytest
from click.testing import CliRunner

from cli import unknown
from cli.commands import COMMANDS, GROUPS, Entry, LazyCommands
from cli.main import gpujob
from tests.here import move_in, type_here


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_sentence_of_its_own_help(name):
    command = gpujob.commands[name]
    assert command.name == name
    assert command.get_short_help_str(limit=1000) == COMMANDS[name].help


def test_each_command_is_in_one_group_of_the_help():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)


def test_the_help_fits_a_small_terminal_and_ends_with_examples():
    lines = CliRunner().invoke(gpujob, "--help", env={"COLUMNS": "80"}).stdout.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[-5:]] == ["gpujob"] * 5
    assert all(any(line.startswith(f"{group} ") for line in lines) for group in GROUPS)


def test_help_lists_all_commands_with_a_line_each():
    shown = type_here("help")
    assert shown.code == 0
    for name, entry in COMMANDS.items():
        assert f"  {name} " in shown.out
        assert entry.help in shown.out


@pytest.mark.parametrize("words", [["up"], ["jobs", "rm"]])
def test_help_of_a_command_is_what_its_own_option_prints(words):
    assert type_here("help", *words).out == type_here(*words, "--help").out


def test_help_of_what_is_no_command_is_refused_with_what_exists():
    assert "no such command 'dwon'; did you mean 'down'?" in type_here("help", "dwon").err
    assert "gpujob ls has no subcommands" in type_here("help", "ls", "all").err
    assert "No such command 'remove'" in type_here("help", "jobs", "remove").err


@pytest.mark.parametrize(
    ("typed", "instead"),
    [
        ("dwon", "gpujob down"),
        ("dwon stud", "gpujob down stud"),
        ("status", "gpujob ls"),
        ("status stud", "gpujob ls"),
        ("launch --gpu A10G", "gpujob up --gpu A10G"),
        ("launch -c stud task.yaml", "gpujob up"),
        ("delete stud", "gpujob down stud"),
        ("terminate stud --force", "gpujob down stud --force"),
        ("destroy", "gpujob down"),
        ("rm", "gpujob down"),
        ("ps", "gpujob jobs"),
        ("queue", "gpujob jobs"),
        ("exec 'my train.py' --lr 1", "gpujob run 'my train.py' --lr 1"),
        ("status --help", "gpujob ls"),
        ("version", "gpujob --version"),
        ("staus", "gpujob ls"),
        ("terminat stud", "gpujob down stud"),
        ("frobnicate", "gpujob help"),
    ],
)
def test_an_unknown_command_is_answered_with_what_to_type_instead(tmp_path, monkeypatch, typed, instead):
    move_in(tmp_path, monkeypatch)
    refused = type_here(*shlex.split(typed))
    assert refused.code == 2
    assert refused.out == ""
    assert f"gpujob: no such command '{typed.split()[0]}'" in refused.err
    assert f"  next: {instead}\n" in refused.err


def test_what_is_suggested_for_another_tool_s_word_exists_and_hides_no_command():
    assert {name for name in unknown.ELSEWHERE if not name.startswith("-")} <= {*COMMANDS}
    assert not {*unknown.COMMANDS} & {*COMMANDS}
    assert len(unknown.COMMANDS) == len(" ".join(unknown.ELSEWHERE.values()).split())  # none has two meanings


def test_a_command_is_imported_once_and_only_when_it_is_looked_up():
    commands = LazyCommands({"init": Entry("cli.account.init", ""), "never": Entry("no.such.module", "")})
    assert list(commands) == ["init", "never"]
    assert commands["init"] is commands["init"]
    assert "never" in commands
    with pytest.raises(ModuleNotFoundError):
        commands.get("never")
    assert commands.get("other") is None


def test_names_are_completed_without_importing_a_command():
    # With its settings: click keeps the help option that the first context asks for.
    context = click.Context(gpujob, info_name="gpujob", **gpujob.context_settings)
    assert [(item.value, item.help) for item in gpujob.shell_complete(context, "ssh")] == [
        ("ssh", COMMANDS["ssh"].help),
        ("ssh-config", COMMANDS["ssh-config"].help),
    ]
    assert [item.value for item in gpujob.shell_complete(context, "--verb")] == ["--verbose"]
