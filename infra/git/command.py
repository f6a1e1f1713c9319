"""Run git so that it starts no program named by a project's configuration; only this module runs git.

A project may be untrusted. Its configuration and those of the repositories inside it may name file system monitors, hooks,
filters and diff programs, and git would run them: https://git-scm.com/docs/git#_security
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.errors import ProjectError
from infra.node.agent import trees

# For each call. Filters, diff programs and textconv run only where git compares or checks out files, which happens only in
# an empty repository (infra/git/commit.py), where the project's configuration is not read at all.
SAFE = (
    *("--no-optional-locks", "--no-pager"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "safe.bareRepository=explicit"),
)
# No transport: a partial clone would fetch missing objects, by whatever program its configuration names.
ENVIRONMENT = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}


def find_program() -> str | None:
    """Return the path of git, or None; relative entries of PATH, possibly in the project, are skipped."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which("git", path=os.pathsep.join(filter(os.path.isabs, places)) or os.devnull)


def git(
    folder: Path, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder, in English; raises ProjectError if git is not installed."""
    program = find_program()
    if program is None:
        raise ProjectError(
            "git is not installed; it is needed to list the files of this repository",
            "install git, then rerun",
        )
    # A hook or an alias may have set GIT_DIR for its own repository; only the folder's own counts, and none above it.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    here = {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    return subprocess.run(
        [program, *SAFE, *arguments],
        cwd=folder,
        env={**inherited, **ENVIRONMENT, **here, **(environment or {})},
        input=stdin,
        capture_output=True,
        check=False,
    )


@contextmanager
def empty_repository(head: str = "", objects: Path | None = None, ignored: bytes = b"") -> Iterator[tuple[str, ...]]:
    """Yield the options that make git use an empty temporary repository instead of a folder's own.

    It can borrow the `objects` of another, at the commit `head`, and ignores what matches the patterns `ignored`.
    """
    with tempfile.TemporaryDirectory(prefix="gpujob-") as place:
        folder = Path(place)
        for name in ("refs", "info", "objects/info"):
            (folder / name).mkdir(parents=True)
        (folder / "HEAD").write_text(f"{head}\n" if head else "ref: refs/heads/main\n")
        (folder / "config").write_text(make_config(sha256=len(head) == 64))
        (folder / "info" / "exclude").write_bytes(ignored)
        if objects:
            (folder / "objects" / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")
        yield f"--git-dir={folder}", "--work-tree=."


def make_config(sha256: bool) -> str:
    """Return the configuration of an empty repository, with the file system's settings as by `git init`."""
    lines = ["[core]", f"repositoryformatversion = {int(sha256)}", "bare = false"]
    if sys.platform == "darwin":
        lines += ["ignorecase = true", "precomposeunicode = true"]
    if sha256:
        lines += ["[extensions]", "objectformat = sha256"]
    return "\n".join(lines) + "\n"


def match(patterns: bytes, files: Iterable[str], folders: Iterable[str] = ()) -> set[str]:
    """Return the files and folders, existing or not, that a .gitignore with these patterns would ignore."""
    with (
        empty_repository(ignored=patterns) as options,
        tempfile.TemporaryDirectory(prefix="gpujob-", ignore_cleanup_errors=True) as place,
    ):
        try:
            for folder in folders:
                trees.make(Path(place, folder))
            return check_ignored(Path(place), (*options, "-c", f"core.excludesFile={os.devnull}"), [*files, *folders])
        finally:
            trees.remove(Path(place))


def check_ignored(folder: Path, options: tuple[str, ...], names: Iterable[str]) -> set[str]:
    """Return the names in a folder that its .gitignore files would ignore, tracked or not."""
    # Without "./" a name that begins with a colon would be parsed as one of git's expressions.
    listing = b"".join(b"./" + os.fsencode(name) + b"\0" for name in names)
    if not listing:
        return set()
    answer = git(folder, *options, "check-ignore", "--no-index", "-z", "--stdin", stdin=listing)
    if answer.returncode not in (0, 1):
        raise refusal(folder, answer)
    return {name.removeprefix("./") for name in names_in(answer.stdout)}


def names_in(listing: bytes) -> list[str]:
    """Return the NUL-separated names that git lists."""
    return [os.fsdecode(name) for name in listing.split(b"\0") if name]


def refusal(folder: Path, answer: subprocess.CompletedProcess[bytes]) -> ProjectError:
    """Return the error for what git printed."""
    said = answer.stderr.decode(errors="replace").strip()[:300]
    return ProjectError(
        f"git cannot read {str(folder)!r}: {said}", "fix the repository, or add that folder to .gitignore"
    )
