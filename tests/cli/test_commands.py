"""The table of commands: what `gpujob --help` says of each without importing it."""

import click
import pytest
from click.testing import CliRunner

from cli.commands import COMMANDS, Entry, LazyCommands
from cli.main import gpujob
from tests.here import type_here


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_sentence_of_its_own_help(name):
    command = gpujob.commands[name]
    assert command.name == name
    assert command.get_short_help_str(limit=1000) == COMMANDS[name].help


def test_the_commands_are_listed_in_the_order_of_a_cluster_s_life():
    lines = type_here("--help").out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert lines[0].split()[0] == "init"


def test_a_line_is_cut_where_the_terminal_ends_as_click_cuts_it():
    eager = click.Group("gpujob", commands=dict(gpujob.commands.items()))
    eager.list_commands = lambda _: list(COMMANDS)
    for columns in ("40", "80"):
        lines, theirs = (
            CliRunner()
            .invoke(group, "--help", env={"COLUMNS": columns}, prog_name="gpujob")
            .output.partition("Comm")[2]
            for group in (gpujob, eager)
        )
        assert lines == theirs


def test_an_unknown_command_is_answered_with_what_it_resembles():
    refused = type_here("dwon")
    assert refused.code == 2
    assert "No such command 'dwon'. Did you mean 'down'?" in refused.err


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
