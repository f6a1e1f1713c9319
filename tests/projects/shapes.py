"""Small projects of the shapes that users have; none of them knows gpujob."""

import json
from dataclasses import dataclass

PACKAGE = """import importlib.metadata
from pathlib import Path


def main() -> None:
    plugins = [point.load()() for point in importlib.metadata.entry_points(group="shop.plugins")]
    Path("result.txt").write_text(importlib.metadata.version("shop") + " " + " ".join(plugins))


def plugin() -> str:
    return "plugged"


if __name__ == "__main__":
    main()
"""
PROJECT = """[project]
name = "shop"
version = "1.4"
{dependencies}
[project.scripts]
shop-train = "shop.train:main"
[project.entry-points."shop.plugins"]
one = "shop.train:plugin"
"""
HATCH = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
UV = '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n'
WHEELS = '[tool.uv]\nno-index = true\nfind-links = ["wheels"]\n'
POETRY = """[tool.poetry]
name = "shop"
version = "1.4"
packages = [{include = "shop"}]
[tool.poetry.scripts]
shop-train = "shop.train:main"
[tool.poetry.plugins."shop.plugins"]
one = "shop.train:plugin"
[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""
SETUP = """from setuptools import find_packages, setup

setup(name="shop", version="1.4", packages=find_packages("source"), package_dir={"": "source"},
      entry_points={"console_scripts": ["shop-train=shop.train:main"], "shop.plugins": ["one=shop.train:plugin"]})
"""
MEMBER = '[project]\nname = "{name}"\nversion = "2.0"\ndependencies = [{needs}]\n'
HYDRA = """import os
from pathlib import Path

folder = Path("outputs/2026-01-31/12-00-00")
(folder / ".hydra").mkdir(parents=True)
(folder / ".hydra/config.yaml").write_text("lr: 0.1")
os.chdir(folder)
Path("train.log").write_text("done")
"""
ROTATING = """from pathlib import Path

for epoch in range(6):
    Path("checkpoints").mkdir(exist_ok=True)
    Path(f"checkpoints/epoch-{epoch}.pt").write_text(str(epoch))
    Path("checkpoints/last.tmp").write_text(str(epoch))
    Path("checkpoints/last.tmp").rename("checkpoints/last.pt")
    if epoch >= 2:
        Path(f"checkpoints/epoch-{epoch - 2}.pt").unlink()
"""
KAGGLE = "rows = open('../input/train.csv').read()\nopen('../working/submission.csv', 'w').write(rows.upper())\n"
MAKEFILE = "all: data/clean.txt\n\tpython train.py\n\ndata/clean.txt:\n\tpython prepare.py\n"
PREPARE = "import os\nos.makedirs('data', exist_ok=True)\nopen('data/clean.txt', 'w').write('clean')\n"
CELL = "from pathlib import Path\nPath('figure.txt').write_text('drawn')"
COURSE_CELL = "!ls\nfrom helfer import farbe\nopen('Bild ß.txt', 'w').write(farbe + open('../Daten/a b.csv').read())"
OWN_RUNS = """import os

assert open("runs/README.md").read() == "my experiments"
os.makedirs("runs/lr0.1")
open("runs/lr0.1/events.txt", "w").write("done")
"""
# As nbdev writes it: everything is in settings.ini, and only the build backend can read it.
NBDEV = """from pkg_resources import parse_version
from configparser import ConfigParser
import setuptools, shlex
assert parse_version(setuptools.__version__) >= parse_version('36.2')
config = ConfigParser(delimiters=['='])
config.read('settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
setup_cfg = {o: cfg[o] for o in 'version description author author_email'.split()}
requirements = shlex.split(cfg.get('requirements', ''))
setuptools.setup(name=cfg['lib_name'], packages=setuptools.find_packages(), install_requires=requirements,
    extras_require={'dev': (cfg.get('dev_requirements') or '').split()}, python_requires='>=' + cfg['min_python'],
    entry_points={'console_scripts': cfg.get('console_scripts', '').split(), 'shop.plugins': ['one=shop.train:plugin']},
    **setup_cfg)
"""
SETTINGS = """[DEFAULT]
lib_name = shop
version = 1.4
min_python = 3.7
description = A shop
author = me
author_email = me@example.org
requirements = packaging pytest
dev_requirements = nowhere-to-be-had
console_scripts = shop-train=shop.train:main
nbs_path = nbs
"""
INLINE = """# /// script
# requires-python = ">=3.8"
# dependencies = ["tiny"]
# [tool.uv.sources]
# tiny = { path = "wheels/tiny-1.0-py3-none-any.whl" }
# ///
import tiny
"""


def make_notebook(cell: str) -> dict[str, object]:
    """Return a notebook with one cell, written on a computer whose kernel has another name."""
    code = {"cell_type": "code", "id": "a", "source": cell, "metadata": {}, "outputs": [], "execution_count": None}
    metadata = {"kernelspec": {"name": "my-laptop", "display_name": "Mine", "language": "python"}}
    return {"cells": [code], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


SAVE = "open('model.pt', 'w').write({what})\n"


@dataclass(frozen=True)
class Shape:
    """A project, how it is run, and the files that a person wants from it."""

    files: dict[str, str]
    run: str
    outputs: tuple[str, ...]
    workdir: str = "."
    ignored: str = ""
    """Its .gitignore, in a git repository; "" for a folder without one."""


WORKSPACE = {
    "pyproject.toml": WHEELS + '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
    "packages/lib/pyproject.toml": HATCH + MEMBER.format(name="lib", needs='"tiny"'),
    "packages/lib/src/lib/__init__.py": "import tiny\nANSWER = tiny.VERSION\n",
    "packages/app/pyproject.toml": HATCH
    + MEMBER.format(name="app", needs='"lib"')
    + '[project.scripts]\napp = "app:main"\n[tool.uv.sources]\nlib = { workspace = true }\n',
    "packages/app/src/app/__init__.py": "def main():\n    import lib\n    open('answer.txt', 'w').write(lib.ANSWER)\n",
}

SHAPES = {
    "flat requirements": Shape(
        {
            "requirements.txt": "--find-links wheels\ntiny==1.0\n",
            "train.py": "import tiny\n" + SAVE.format(what="tiny.VERSION"),
        },
        "train.py",
        ("model.pt",),
    ),
    "src layout": Shape(
        {
            "pyproject.toml": HATCH + PROJECT.format(dependencies="dependencies = []"),
            "src/shop/__init__.py": "",
            "src/shop/train.py": PACKAGE,
        },
        "shop-train",
        ("result.txt",),
    ),
    "uv package": Shape(
        {
            "pyproject.toml": UV + WHEELS + PROJECT.format(dependencies='dependencies = ["tiny"]'),
            "src/shop/__init__.py": "import tiny\n",
            "src/shop/train.py": PACKAGE,
            "uv.lock": "",
        },
        "-m shop.train",
        ("result.txt",),
    ),
    "uv workspace": Shape(
        {**WORKSPACE, "uv.lock": ""},
        "app",
        ("answer.txt",),
    ),
    "poetry": Shape(
        {"pyproject.toml": POETRY, "shop/__init__.py": "", "shop/train.py": PACKAGE}, "shop-train", ("result.txt",)
    ),
    "setup.py": Shape(
        {"setup.py": SETUP, "source/shop/__init__.py": "", "source/shop/train.py": PACKAGE},
        "shop-train",
        ("result.txt",),
    ),
    "nbdev": Shape(
        {
            "settings.ini": SETTINGS,
            "setup.py": NBDEV,
            "nbs/00_train.ipynb": json.dumps(make_notebook(CELL)),
            "shop/__init__.py": "",
            "shop/train.py": PACKAGE,
        },
        "shop-train",
        ("result.txt",),
        ignored="_docs/\n_proc/\n",
    ),
    "script with inline metadata": Shape(
        {"requirements.txt": "nowhere-to-be-had\n", "train.py": INLINE + SAVE.format(what="tiny.VERSION")},
        "train.py",
        ("model.pt",),
    ),
    "course with a manifest per folder": Shape(
        {
            "requirements.txt": "nowhere-to-be-had\n",
            "week1/requirements.txt": "also-nowhere\n",
            "week1/train.py": "import also_nowhere\n",
            "week2/requirements.txt": "--find-links ../wheels\ntiny==1.0\n",
            "week2/helpers.py": "from tiny import VERSION\n",
            "week2/train.py": "from helpers import VERSION\n" + SAVE.format(what="VERSION"),
        },
        "train.py",
        ("week2/model.pt",),
        workdir="week2",
        ignored="*.log\n",
    ),
    "uv workspace without a lock": Shape(
        WORKSPACE,
        "app",
        ("answer.txt",),
    ),
    "dated output folders": Shape(
        {"train.py": HYDRA},
        "train.py",
        ("outputs/2026-01-31/12-00-00/.hydra/config.yaml", "outputs/2026-01-31/12-00-00/train.log"),
    ),
    "rotating checkpoints": Shape(
        {"train.py": ROTATING},
        "train.py",
        ("checkpoints/epoch-4.pt", "checkpoints/epoch-5.pt", "checkpoints/last.pt"),
    ),
    "Kaggle": Shape(
        {"input/train.csv": "a,b\n", "working/.keep": "", "code/train.py": KAGGLE},
        "train.py",
        ("working/submission.csv",),
        workdir="code",
        ignored="*.log\n",
    ),
    "make with ignored data": Shape(
        {
            "Makefile": MAKEFILE,
            "prepare.py": PREPARE,
            "train.py": SAVE.format(what="open('data/clean.txt').read()"),
            "data/old.txt": "stays here",
        },
        "make",
        ("data/clean.txt", "model.pt"),
        ignored="data/\n",
    ),
    "course of notebooks": Shape(
        {
            "Übung 1/1 Einführung.ipynb": json.dumps(make_notebook(COURSE_CELL)),
            "Übung 1/helfer.py": "farbe = 'grün '\n",
            "Übung 2/2.ipynb": json.dumps(make_notebook("import nowhere_to_be_had")),
            "Daten/a b.csv": "1",
        },
        "'1 Einführung.ipynb'",
        ("Übung 1/1 Einführung.ipynb", "Übung 1/Bild ß.txt"),
        workdir="Übung 1",
        ignored="*.log\n",
    ),
    "own runs folder": Shape(
        {"runs/README.md": "my experiments", "train.py": OWN_RUNS},
        "train.py",
        ("runs/lr0.1/events.txt",),
        ignored="*.log\n",
    ),
}
