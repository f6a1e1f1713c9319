"""Turn the arguments of `run` into a job's command: a script, module, notebook or any program."""

import difflib
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from cli.notices.withheld import explain_absence
from cli.options.context import here, launcher_here, script_here
from cli.options.retype import retype, typed_words
from cli.reasons.notebooks import NBCONVERT
from infra.errors import Change, UsageError
from infra.project.files import Project

RUNNERS = {".py": ("python",), ".sh": ("bash",)}
NOTEBOOK, KERNEL = ".ipynb", "python3"
INTERPRETERS = ("python", "python3", "bash", "sh")
# Never taken for a misspelled script. Any other name is a program as well, unless it resembles a script of the project.
PROGRAMS = (
    *INTERPRETERS,
    "accelerate",
    "deepspeed",
    "jupyter",
    "make",
    "nvidia-smi",
    "pip",
    "pytest",
    "torchrun",
    "uv",
)
PROGRAM = re.compile(r"[\w+-]+(\.[0-9]+)*")
SHELL = re.compile(r"[\s;&|<>$`(){}*?\"'\\]|^~")


def make_command(project: Project, script: str | None, args: Sequence[str], module: bool) -> tuple[str, ...]:
    """Return the job's command line; raises UsageError if its script would not be uploaded."""
    if script is None:
        if not args:
            raise UsageError(
                "nothing to run", f"{launcher_here()} {script_here()}, or: {launcher_here()} -- nvidia-smi"
            )
        return in_shell(args)
    if module:
        return ("python", "-m", script, *args)
    path = locate(project, here(), script)
    if not path.exists() and (command := as_program(project, script, args)):
        return command
    check_uploaded(project, path, script)
    name = os.path.relpath(path, project.root / project.workdir)
    if path.suffix == NOTEBOOK:
        return execute_notebook(path, name, args)
    return (*runner_of(path, script), name, *args)


def execute_notebook(path: Path, name: str, args: Sequence[str]) -> tuple[str, ...]:
    """Return the command that executes a notebook in place.

    Raises UsageError for arguments, or if the notebook is invalid.
    """
    if args:
        raise UsageError("a notebook takes no arguments", f"{launcher_here()} --env NAME=VALUE {shlex.quote(name)}")
    try:
        metadata = json.loads(path.read_bytes())["metadata"]
        kernel = metadata.get("kernelspec", {})
        is_python = kernel.get("language", metadata.get("language_info", {}).get("name", "python")) == "python"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"'{name}' is not a Jupyter notebook", "open it in JupyterLab and save it") from error
    # A kernel that was named on this computer does not exist on the machine.
    own = (f"--ExecutePreprocessor.kernel_name={KERNEL}",) if is_python else ()
    return (*NBCONVERT, "--to", "notebook", "--execute", "--inplace", *own, name)


def in_shell(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command; one argument with shell syntax runs in a shell, as with ssh."""
    return ("bash", "-c", words[0]) if len(words) == 1 and SHELL.search(words[0]) else tuple(words)


def as_program(project: Project, name: str, args: Sequence[str]) -> tuple[str, ...]:
    """Return the command if this is the name of a program, or a whole shell command; otherwise empty."""
    if not args and re.search(r"\s", name):
        return in_shell([name])
    if not PROGRAM.fullmatch(name) or (name not in PROGRAMS and find_similar(project, name)):
        return ()
    if name in INTERPRETERS and args and Path(args[0]).suffix in RUNNERS:
        check_uploaded(project, locate(project, project.root / project.workdir, args[0]), args[0])
    return (name, *args)


def locate(project: Project, folder: Path, script: str) -> Path:
    """Return the path of a script, named from a folder or else from the job's working folder."""
    named = (Path(os.path.normpath(place / script)) for place in (folder, project.root / project.workdir))
    path, *others = dict.fromkeys(named)
    path = next((other for other in others if other.is_file() and not path.exists()), path)
    return path if path.is_relative_to(project.root) else path.resolve()  # the folder may be a link to the project


def check_uploaded(project: Project, path: Path, script: str) -> None:
    """Raise UsageError unless a script is a file of the project that is uploaded."""
    if path.is_dir():
        module = path.relative_to(project.root).as_posix().replace("/", ".") if (path / "__main__.py").is_file() else ""
        raise UsageError(
            f"'{script}' is a folder", f"{launcher_here()} -m {module}" if module else suggest(project, script)
        )
    if not path.is_file():
        raise UsageError(f"no such script: '{script}'", suggest(project, script))
    if not path.is_relative_to(project.root):
        raise UsageError(f"'{script}' is outside the project {project.root}", "cd to its folder")
    name = path.relative_to(project.root).as_posix()
    if name not in {file.path for file in project.files}:
        raise explain_absence(project, script, name)


def runner_of(path: Path, script: str) -> tuple[str, ...]:
    """Return the words that run a script of this kind; raises UsageError for an unknown kind."""
    runner = RUNNERS.get(path.suffix)
    if runner is None:
        raise UsageError(
            f"'{script}' is neither a .py nor a .sh file nor a notebook",
            f"{launcher_here()} -- {shlex.quote(f'./{script}')}",
        )
    return runner


def suggest(project: Project, script: str) -> str:
    """Return a hint for a script that does not exist: a similar one, or to run it as a command."""
    similar = find_similar(project, script)
    found = similar[0] if similar else shlex.split(script_here())[0]
    typed = typed_words(click.get_current_context())
    run = retype(typed, Change(script, found)) if script in typed else f"{launcher_here()} {shlex.quote(found)}"
    return f"{run}, or as a command: {launcher_here()} -- {shlex.quote(script)}"


def find_similar(project: Project, script: str) -> list[str]:
    """Return the project's scripts with a similar name, as typed in the current folder, nearest first."""
    paths = [Path(file.path) for file in project.files if Path(file.path).suffix in (*RUNNERS, NOTEBOOK)]
    names = {path.name: path for path in paths} | {path.stem: path for path in paths}
    near = difflib.get_close_matches(Path(script).name, names, 3, cutoff=0.75)
    return list(dict.fromkeys(os.path.relpath(project.root / names[each], here()) for each in near))
