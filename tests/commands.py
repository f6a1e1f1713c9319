"""Write docs/commands.md, the help of every command: `make docs`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
WIDTH = 80
HEAD = """# Commands

What `gpujob COMMAND --help` prints. `make docs` writes this page; a test fails if it is stale.
"""


def walk(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield a context for a command, and then for each of its subcommands in the order in which help lists them."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found and not found.hidden:
                yield from walk(found, below, context)


def write_page(command: click.Command) -> str:
    """Return the page for a command and all its subcommands."""
    sections = [
        f"## {context.command_path}\n\n```text\n{context.get_help().rstrip()}\n```\n"
        for context in walk(command, "gpujob")
    ]
    return "\n".join([HEAD, *sections])


def main() -> None:
    """Write the page."""
    from cli.main import gpujob

    page = write_page(gpujob)
    PAGE.write_text(page)
    sys.stdout.write(f"{PAGE.relative_to(PAGE.parents[1])}: {page.count(chr(10) + '## ')} commands\n")


if __name__ == "__main__":
    main()
