"""A project to start from: init."""

import shlex
import shutil
from pathlib import Path

import click

from cli.terminal import show
from infra.errors import UsageError

TRAIN = '''"""Trains a CNN. `gpujob run train.py --help` names the options; `jobs/` is yours to read and change."""

from jobs.train import main

if __name__ == "__main__":
    main()
'''

SETTINGS = """# gpujob's settings for this project. Options have variables too: GPUJOB_MAX_HOURS=6.
[up]
gpu = "T4"
max-hours = 6
"""

REQUIREMENTS = """matplotlib
numpy
pillow
safetensors
scikit-learn
scipy
torch
torchvision
"""

README = """# {name}

    gpujob up --dry-run        # try it on the local cloud: nothing is billed; without --dry-run, on AWS
    gpujob run --down train.py # trains on Fashion-MNIST, or on digits; downloads the model, terminates the machine
    gpujob run train.py --data photos --model resnet34 --pretrained    # your images: a folder with a folder for each class
    gpujob down                # terminates the machine, if you ran without --down

`python train.py` trains on this machine. `python -m jobs.compare`, `jobs.finetune`, `jobs.interpret`, `jobs.predict`,
`jobs.submit`, `jobs.export` and `jobs.perceptron` are the other programs; each has `--help`.
"""

IGNORED = "outputs/\n__pycache__/\n.venv/\n"


@click.command()
@click.argument("folder", required=False, default=".", metavar="[DIR]", type=click.Path(file_okay=False))
def init(folder: str) -> None:
    """Lay a starter project into DIR.

    A train.py, the training code it imports, settings, a README. What is there already is never overwritten.
    """
    if not folder:  # a variable that is not set: this folder is not what was meant
        raise UsageError("'' is no folder", "gpujob init DIR")
    for path in lay_starter(Path(folder).resolve()):
        show.say(f"wrote {path}")
    there = "" if Path(folder) == Path() else f"cd {shlex.quote(folder)} && "
    show.say(f"next: {there}gpujob up --dry-run && gpujob run train.py")


def lay_starter(folder: Path) -> list[str]:
    """Write the project and return what was written; raises UsageError if some of it exists."""
    texts = {
        "train.py": TRAIN,
        "gpujob.toml": SETTINGS,
        "requirements.txt": REQUIREMENTS,
        "README.md": README.format(name=folder.name),
    }
    there = [name for name in (*texts, "jobs") if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} has {', '.join(there)} already", "gpujob init another-folder")
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).resolve().parents[2] / "jobs"
    shutil.copytree(source, folder / "jobs", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name, text in texts.items():
        (folder / name).write_text(text)
    if not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text(IGNORED)
        texts[".gitignore"] = IGNORED
    return [*sorted(texts), "jobs/"]
