"""Create a starter project: init."""

import shlex
import shutil
from pathlib import Path

import click

from cli.terminal import show
from infra.errors import UsageError

TRAIN = '''"""Train a CNN. Options: `gpujob run train.py --help`. The training code in `jobs/` is yours to change."""

from jobs.train import main

if __name__ == "__main__":
    main()
'''

SETTINGS = """# Options of gpujob commands for this project. Environment variables override them: GPUJOB_MAX_HOURS=6
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

    gpujob up --dry-run          # launch on the local cloud, free; without --dry-run, on AWS
    gpujob run --down train.py   # train on Fashion-MNIST or digits, download the model, terminate the machine
    gpujob run train.py --data photos --model resnet34 --pretrained   # your images: one folder per class
    gpujob down                  # terminate the machine, if you ran without --down

`python train.py` trains on this computer. Other programs, each with `--help`: `python -m jobs.compare`, `jobs.finetune`,
`jobs.interpret`, `jobs.predict`, `jobs.submit`, `jobs.export` and `jobs.perceptron`.
"""

IGNORED = "outputs/\n__pycache__/\n.venv/\n"


@click.command()
@click.argument("folder", required=False, default=".", metavar="[DIR]", type=click.Path(file_okay=False))
def init(folder: str) -> None:
    """Create a starter project in DIR.

    Writes train.py, the training code it imports, gpujob.toml, requirements.txt and a README. Never overwrites files.
    """
    if not folder:  # probably an unset shell variable; do not use the current folder
        raise UsageError("DIR is empty", "gpujob init DIR")
    for path in write_starter(Path(folder).resolve()):
        show.say(f"wrote {path}")
    enter = "" if Path(folder) == Path() else f"cd {shlex.quote(folder)} && "
    show.say(f"next: {enter}gpujob up --dry-run && gpujob run train.py")


def write_starter(folder: Path) -> list[str]:
    """Write the project and return the names written; raises UsageError if any exists."""
    texts = {
        "train.py": TRAIN,
        "gpujob.toml": SETTINGS,
        "requirements.txt": REQUIREMENTS,
        "README.md": README.format(name=folder.name),
    }
    existing = [name for name in (*texts, "jobs") if (folder / name).exists()]
    if existing:
        raise UsageError(f"{folder} already contains {', '.join(existing)}", "gpujob init another-folder")
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).resolve().parents[2] / "jobs"
    shutil.copytree(source, folder / "jobs", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name, text in texts.items():
        (folder / name).write_text(text)
    if not (folder / ".gitignore").exists():
        (folder / ".gitignore").write_text(IGNORED)
        texts[".gitignore"] = IGNORED
    return [*sorted(texts), "jobs/"]
