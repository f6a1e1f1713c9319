"""Install a manifest's packages with uv or conda into a new environment on top of a base interpreter."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from .environments import add_stand_ins, lead_to_base, refuse_own_folders, remove_stand_ins, replaced_torch
from .installation import Installation, attempt, refuse, run, run_offline_first
from .torch import Chosen, keep_torch, read_lines, read_pylock
from .uv import DependenciesError, choose_index_strategy, find_uv, say

CONDAS = ("micromamba", "mamba", "conda")
PYLOCK = "pylock.toml"
STALE = re.compile(r"needs\s+to\s+be\s+updated")  # uv wraps its lines
LOCAL = re.compile(r"^(--find-links )?\./|^(--find-links )(?![\w+.-]+://)(?:\./)?")


class Source(NamedTuple):
    """The arguments and standard input of `uv pip install`, and what to install after that."""

    words: list[str]
    given: bytes = b""
    anew: tuple[str, ...] = ()


def build(what: Installation) -> None:
    """Build the environment; raises DependenciesError."""
    say(what.log, f"installing dependencies from {what.name} ...")
    if what.plan["kind"] == "conda":
        conda = next(filter(None, map(shutil.which, CONDAS)), None)
        if conda:
            run_conda(what, conda)
            return
        say(what.log, "conda is not installed on the machine; installing from PyPI")
    uv = find_uv(what.base.python, what.log)
    run(what, [*uv, "venv", "--quiet", "--no-project", "--python", what.base.python, str(what.folder)])
    lead_to_base(what.site, what.base)
    add_stand_ins(what.site, what.base.path)
    source = read_lock(what, uv) if what.plan["kind"] in ("uv.lock", "pylock") else read_requirements(what, uv)
    install = [*uv, "pip", "install", "--python", what.python]
    run_offline_first(what, [*install, *source.words], source.given)
    if source.anew:
        run_offline_first(what, [*install, *source.anew])
    if replaced_torch(what.site):
        run(what, [*install, *source.words], source.given)
    refuse_own_folders(what.site, what.name)
    remove_stand_ins(what.site)


def run_conda(what: Installation, conda: str) -> None:
    """Create the conda environment of an environment.yml; raises DependenciesError."""
    file = str(what.project / next(name for name in what.plan["watched"] if name.endswith((".yml", ".yaml"))))
    make = [conda, "create", "--yes"] if Path(conda).name == "micromamba" else [conda, "env", "create"]
    run(what, [*make, "--prefix", str(what.folder), "--file", file])
    if not os.access(what.python, os.X_OK):
        raise DependenciesError(f"{what.name} does not list python; add it to its dependencies")


def read_lock(what: Installation, uv: list[str]) -> Source:
    """Return the packages of a pylock.toml or an up-to-date uv.lock; raises DependenciesError."""
    options = list(what.plan["options"])
    if what.plan["kind"] == "uv.lock":
        file = what.folder / PYLOCK
        export = [*uv, "export", "--quiet", "--locked", "--format", PYLOCK, "--no-emit-local", "--no-header"]
        words = [*export, "--python", what.base.python, "--output-file", str(file), *options]
        code, report = attempt(what, [*words, "--offline"])
        if code and not STALE.search(report.text):
            code, report = attempt(what, words)
        if STALE.search(report.text):
            raise DependenciesError(
                f"{what.name} is out of date: pyproject.toml has changed since; "
                "run: uv lock; to install nothing: --no-deps"
            )
        if code:
            refuse(what, report.text, "uv")
        options = []
    else:
        file = what.project / what.plan["watched"][0]
    pinned = read_pylock(file.read_text(encoding="utf-8-sig"))
    chosen = keep_torch(what, uv, pinned)
    if len(chosen.texts) < len(pinned):
        file = what.folder / PYLOCK
        file.write_text("".join(chosen.texts), encoding="utf-8")
    if not any(text.startswith("[[packages]]") for text in chosen.texts):
        return Source(["--requirement", os.devnull], anew=chosen.anew)
    return Source(["--requirement", str(file), "--preview-features", "pylock", *options], anew=chosen.anew)


def read_requirements(what: Installation, uv: list[str]) -> Source:
    """Return a list of requirements and the files that uv reads itself, as arguments for uv."""
    plan = what.plan
    lines = [at(what.project, line) for line in plan["lines"]]
    chosen = keep_torch(what, uv, read_lines(lines)) if plan["locked"] else Chosen(lines, ())
    words = ["--requirement", "-"] if chosen.texts or not plan["files"] else []
    if plan["constraints"]:
        constraints = what.folder / "constraints.txt"
        text = "\n".join(at(what.project, line) for line in plan["constraints"])
        constraints.write_text(text, encoding="utf-8", errors="surrogateescape")
        words += ["--constraint", str(constraints)]
    words += [word for file in plan["files"] for word in ("--requirement", str(what.project / file))]
    words += [word for group in plan["groups"] for word in ("--group", str(what.project / group))]
    strategy = choose_index_strategy(lines, what.variables) if not plan["files"] else []
    given = "".join(f"{line}\n" for line in chosen.texts)
    return Source([*words, *plan["options"], *strategy], given.encode("utf-8", "surrogateescape"), chosen.anew)


def at(project: Path, line: str) -> str:
    """Return a requirement or option with its local path made absolute."""
    return LOCAL.sub(lambda found: f"{found[1] or found[2] or ''}{project}/", line)
