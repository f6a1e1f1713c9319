"""Make the pictures in docs/images: `make pictures`.

session.svg is what a terminal shows of a first dry run, report.png the top of a report (chromium takes it). Those of the
lessons show no photographs of tuxpaint-stamps-default, whose license (GPL-2) is not that of these pages.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
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


def run(folder: Path, *words: str) -> None:
    """Run one of the training programs in a folder."""
    command = [sys.executable, *words]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(DOCS.parent)}, check=True)


def photograph(page: Path, picture: Path, top: int, height: int) -> None:
    """Take a picture of a part of a page, 820 pixels wide."""
    size = f"--window-size=820,{top + height}"
    subprocess.run([*CHROMIUM, f"--screenshot={picture}", size, str(page)], check=True, capture_output=True)
    with Image.open(picture) as whole:
        whole.crop((0, top, 820, top + height)).quantize(128).save(picture, optimize=True)


def draw_report(folder: Path) -> None:
    """Train for some seconds, write a report, and take a picture of its top."""
    run(folder, "-m", "jobs.train", "--data", "digits", "--epochs", "12")
    run(folder, "-m", "jobs.interpret", "outputs")
    photograph(folder / "outputs/report/report.html", PICTURES / "report.png", 0, 1160)


def draw_lessons(folder: Path) -> None:
    """Run the lessons, and take a picture of each."""
    run(folder, str(DOCS.parent / "cli" / "__main__.py"), "init", "--template", "lesson")
    shown = ["--data", "digits", "--crop", "1", "--rotate", "10", "--rows", "4", "--columns", "8"]
    run(folder, "-m", "jobs.show", *shown, "--out", str(PICTURES / "lesson-digits.png"))
    run(folder, "lesson1.py")
    run(folder, "-m", "jobs.interpret", "outputs", "cat.jpg")
    photograph(folder / "outputs/report/cat.html", PICTURES / "lesson-cat.png", 0, 820)
    run(folder, "lesson2.py")
    photograph(folder / "outputs/report/report.html", PICTURES / "lesson-confusion.png", 1135, 390)


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory(dir=DOCS.parent) as folder:
        (PICTURES / "session.svg").write_text(draw(record(Path(folder))))
        draw_report(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        draw_lessons(Path(folder))


if __name__ == "__main__":
    main()
