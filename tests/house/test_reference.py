"""docs/commands.md says what the commands' help says."""

import click
import pytest

from cli.main import gpujob
from tests.commands import PAGE, walk, write_page


def test_the_page_of_commands_is_what_help_prints_now():
    assert PAGE.read_text() == write_page(gpujob), "run: make docs"


def test_the_page_has_commands_and_their_subcommands():
    text = PAGE.read_text()
    for command in ("up", "run", "jobs rm", "images rm", "local fault"):
        assert f"\n## gpujob {command}\n" in text


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_page_does_not_depend_on_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    test_the_page_of_commands_is_what_help_prints_now()


def test_a_changed_help_and_a_hidden_command_are_seen():
    @click.group()
    def group() -> None:
        """Do things."""

    @group.command()
    @click.option("--force", is_flag=True, help="Do it anyway.")
    def shown(force: bool) -> None:
        """Do one thing."""

    @group.command(hidden=True)
    def unseen() -> None:
        """Do another."""

    assert [context.command_path for context in walk(group, "tool")] == ["tool", "tool shown"]
    page = write_page(group)
    group.commands["shown"].params[0].help = "Do it regardless."
    assert write_page(group) != page
