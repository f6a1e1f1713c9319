"""Make the pictures of the README in docs/images: `make pictures`.

session.svg is what a terminal shows of a first dry run, report.png the top of a report (chromium takes it).
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
PICTURES = DOCS / "images"
COMMANDS = ("up --dry-run", "run --down train.py 3")
COLUMNS = 92
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


def record(home: Path) -> str:
    """Type the commands in a new home folder, and return what they print, prompts included."""
    project = home / "hello"
    project.mkdir()
    subprocess.run(["git", "init", "--quiet", project], check=True)  # otherwise the project would be all of gpujob
    (project / "train.py").write_bytes((DOCS / "hello" / "train.py").read_bytes())
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = kept | {"HOME": str(home), "COLUMNS": str(COLUMNS), "AWS_EC2_METADATA_DISABLED": "true"}
    program = [sys.executable, str(DOCS.parent / "cli" / "__main__.py")]
    shown = ""
    try:
        for command in COMMANDS:
            done = subprocess.run(
                [*program, *command.split()],
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=True,
            )
            shown += f"$ gpujob {command}\n{done.stdout.rstrip()}\n\n"
    finally:
        subprocess.run([*program, "local", "stop"], env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = shown.replace(str(home), "~").rstrip().splitlines()
    return "\n".join(line for line in lines if not line.endswith("..."))  # a terminal shows these for a moment only


def draw(session: str) -> str:
    """Return a picture of a session, with the font of the reader's computer."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    for line in session.splitlines():
        console.print(Text(line, style="bold green" if line.startswith("$ ") else ""))
    picture = console.export_svg(title="gpujob")
    return re.sub(r"@font-face \{.*?\}\n", "", picture, flags=re.DOTALL)  # they would be fetched from the network


def photograph(folder: Path, picture: Path) -> None:
    """Train for some seconds, write a report, and take a picture of its top."""
    python = [sys.executable, "-m"]
    for command in (
        [*python, "jobs.train", "--data", "digits", "--epochs", "12"],
        [*python, "jobs.interpret", "outputs"],
        [*CHROMIUM, f"--screenshot={picture}", "--window-size=820,1160", "outputs/report/report.html"],
    ):
        subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(DOCS.parent)}, check=True)


def main() -> None:
    """Make both pictures."""
    with tempfile.TemporaryDirectory(dir=DOCS.parent) as folder:
        (PICTURES / "session.svg").write_text(draw(record(Path(folder))))
        photograph(Path(folder), PICTURES / "report.png")


if __name__ == "__main__":
    main()
