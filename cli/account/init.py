"""Create a starter project: init."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from cli.account.templates import IGNORED, list_copied, write_template
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
    type=click.Choice(["classifier", "lesson", "script", "notebook"]),
    default="classifier",
    show_default=True,
    help="An image classifier with its training code, lessons for beginners, a plain PyTorch script, or a notebook.",
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
    if template == "lesson":
        show.say(collect_photos(place))
    enter = "" if Path(folder) == Path() else f"cd {shlex.quote(folder)} && "
    start = {"notebook": "notebook", "lesson": "run lesson0.py"}.get(template, "run train.py")
    show.say(f"next: {enter}gpujob up --dry-run && gpujob {start}")


def check_conflicts(folder: Path, template: str) -> None:
    """Raise UsageError if any file of the project exists."""
    names = [*write_template(template, folder.name), *(path.name for path in list_copied(template))]
    if existing := [name for name in names if (folder / name).exists()]:
        raise UsageError(f"{folder} already contains {', '.join(existing)}", "gpujob init another-folder")


def write_starter(folder: Path, template: str) -> list[str]:
    """Write the project and return the names written."""
    texts = write_template(template, folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    copied = list_copied(template)
    for source in copied:
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, folder / source.name, ignore=ignored)
        else:
            shutil.copyfile(source, folder / source.name)
    if not (folder / ".gitignore").exists():
        texts[".gitignore"] = IGNORED
    for name, text in texts.items():
        (folder / name).write_text(text)
    return sorted([*texts, *(f"{path.name}/" if path.is_dir() else path.name for path in copied)])


def collect_photos(folder: Path) -> str:
    """Run the lesson's photos.py, which needs no packages; return the line it prints."""
    command = [sys.executable, "photos.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
