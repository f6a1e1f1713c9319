"""Create a starter project: init."""

import shlex
import shutil
from pathlib import Path

import click

from cli.account.templates import IGNORED, write_template
from cli.options.declared import option, yes_option
from cli.terminal import show
from cli.terminal.questions import confirm
from infra.errors import UsageError

HARMLESS = frozenset({".git", ".gitignore", ".gitattributes", ".github", ".venv"})
"""What a folder may contain and still be written to without asking."""


@click.command()
@click.argument("folder", required=False, default=".", metavar="[DIR]", type=click.Path(file_okay=False))
@option(
    "--template",
    type=click.Choice(["classifier", "script", "notebook"]),
    default="classifier",
    show_default=True,
    help="An image classifier with its training code, a plain PyTorch script, or a notebook.",
)
@yes_option
def init(folder: str, template: str, yes: bool) -> None:
    """Create a starter project in DIR.

    Writes the code, gpujob.toml, requirements.txt and a README. Never overwrites files. Asks before writing to your
    home folder or a folder that is not empty.
    """
    if not folder:  # probably an unset shell variable; do not use the current folder
        raise UsageError("DIR is empty", "gpujob init DIR")
    place = Path(folder).resolve()
    check_conflicts(place, template)
    if place == Path.home().resolve():
        confirm(f"{place} is your home folder. Create a project in it?", yes)
    elif place.exists() and not {path.name for path in place.iterdir()} <= HARMLESS:
        confirm(f"{place} is not empty. Create a project in it?", yes)
    for path in write_starter(place, template):
        show.say(f"wrote {path}")
    enter = "" if Path(folder) == Path() else f"cd {shlex.quote(folder)} && "
    start = "gpujob notebook" if template == "notebook" else "gpujob run train.py"
    show.say(f"next: {enter}gpujob up --dry-run && {start}")


def check_conflicts(folder: Path, template: str) -> None:
    """Raise UsageError if any file of the project exists."""
    names = [*write_template(template, folder.name), *(["jobs"] if template == "classifier" else [])]
    if existing := [name for name in names if (folder / name).exists()]:
        raise UsageError(f"{folder} already contains {', '.join(existing)}", "gpujob init another-folder")


def write_starter(folder: Path, template: str) -> list[str]:
    """Write the project and return the names written."""
    texts = write_template(template, folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    if template == "classifier":
        source = Path(__file__).resolve().parents[2] / "jobs"
        shutil.copytree(source, folder / "jobs", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    if not (folder / ".gitignore").exists():
        texts[".gitignore"] = IGNORED
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [*sorted(texts), *(["jobs/"] if template == "classifier" else [])]
