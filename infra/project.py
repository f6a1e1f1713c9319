"""The project: which folder it is, which of its files travel, and what git knows of it."""

import fnmatch
import hashlib
import os
import re
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from infra.errors import ProjectError

RUNS = "runs"
# Never carried: who has the node, or a copy of its disk, would have these too.
SECRETS = (
    ".env",
    ".env.*",
    "*.pem",
    "id_rsa*",
    "id_ed25519*",
    "id_ecdsa*",
    "id_dsa*",
    ".netrc",
    ".aws",
    ".ssh",
    ".gnupg",
)
# Nor these, unless git tracks them: made again where they are needed, and large.
CACHES = (
    "__pycache__",
    ".venv",
    "venv",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
)


@dataclass(frozen=True)
class File:
    """A file or symbolic link that travels; the path is relative to the project's root."""

    path: str
    sha256: str
    """Empty for a link."""
    size_bytes: int
    mode: int
    mtime_ns: int
    link: str | None = None


@dataclass(frozen=True)
class Project:
    """A folder of code and what is to be carried of it."""

    root: Path
    workdir: str
    """Where in the project the person stands: "." or a subfolder."""
    files: tuple[File, ...]
    left_out: tuple[str, ...]
    """Secrets, and links that point outside: named to the person, never carried."""

    @property
    def size_bytes(self) -> int:
        """How much all of it is."""
        return sum(file.size_bytes for file in self.files)

    @property
    def snapshot(self) -> str:
        """The SHA-256 that tells this code from any other: paths, contents, modes and links."""
        lines = sorted(repr((file.path, file.sha256, file.mode, file.link)) for file in self.files)
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def runs(self) -> Path:
        """Where outputs come home to."""
        return self.root / RUNS


def read_project(here: Path) -> Project:
    """Return the project that `here` belongs to: the git repository around it, or else `here` itself."""
    root = find_root(here)
    if root in (Path.home().resolve(), Path(root.anchor)):
        raise ProjectError(f"{root} is not a project folder: all of it would be sent", "cd to the folder of your code")
    listed = [name for name, tracked in list_files(root) if tracked or not is_cache(name)]
    kept = [name for name in listed if not matches(name, SECRETS) and stays_inside(root, name)]
    return Project(
        root=root,
        workdir=here.relative_to(root).as_posix(),
        files=tuple(read_file(root, name) for name in kept),
        left_out=tuple(sorted(set(listed) - set(kept))),
    )


def read_file(root: Path, name: str) -> File:
    """Return what a file is and holds; raises ProjectError if it cannot be read."""
    path = root / name
    try:
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            return File(name, "", 0, 0o777, info.st_mtime_ns, link=str(path.readlink()))
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise ProjectError(f"{name} cannot be read: {error.strerror}", "mend it, or add it to .gitignore") from error
    return File(name, digest, info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns)


def find_root(here: Path) -> Path:
    """Return the top of the git repository around `here`, or `here` where there is none."""
    answer = git(here, "rev-parse", "--show-toplevel")
    if answer.returncode == 0:
        return Path(os.fsdecode(answer.stdout.removesuffix(b"\n")))
    if b"not a git repository" not in answer.stderr:
        raise ProjectError(f"git: {answer.stderr.decode(errors='replace').strip().splitlines()[0]}", "git status")
    return here


def list_files(folder: Path) -> list[tuple[str, bool]]:
    """Return git's view of a folder, with whether git tracks each file: tracked ones, and others that are not ignored.

    Repositories inside are included. Outside a repository the same rules of .gitignore hold: git reads them for an empty
    repository that stands elsewhere.
    """
    choice = ["ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    if (folder / ".git").exists():
        answer = git(folder, *choice)
    else:
        with tempfile.TemporaryDirectory(prefix="gpujob-") as empty:
            git(folder, "init", "--quiet", "--bare", empty)
            answer = git(folder, f"--git-dir={empty}", f"--work-tree={folder}", *choice)
    if answer.returncode:
        raise ProjectError(f"git: {answer.stderr.decode(errors='replace').strip()[:300]}", "git status")
    files: list[tuple[str, bool]] = []
    for entry in map(os.fsdecode, filter(None, answer.stdout.split(b"\0"))):
        tag, _, name = entry.partition(" ")
        path = folder / name
        if path.is_dir() and not path.is_symlink():  # a submodule, or a repository inside
            files += [(f"{name.rstrip('/')}/{inner}", tracked) for inner, tracked in list_files(path)]
        elif os.path.lexists(path) and (path.is_symlink() or stat.S_ISREG(path.stat().st_mode)):
            files.append((name, tag != "?"))
    return files


def is_cache(name: str) -> bool:
    """Tell whether a path is one of what comes home, or lies in a folder that tools make again."""
    return name.startswith(f"{RUNS}/") or matches(name, CACHES)


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder, in English; raises ProjectError where there is no git."""
    # A hook or an alias may have set GIT_DIR for its own repository; ours is the one around the folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}
    try:
        return subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ProjectError(
            "git is not installed; it tells which files travel", "install git, then type it again"
        ) from error


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether any part of a path matches any of the patterns."""
    parts = PurePosixPath(name).parts
    return any(fnmatch.fnmatchcase(part, pattern) for part in parts for pattern in patterns)


def stays_inside(root: Path, name: str) -> bool:
    """Tell whether a file, or what a symbolic link points to, lies in the project."""
    path = root / name
    if not path.is_symlink():
        return True
    target = Path(os.path.normpath(path.parent / path.readlink()))
    return not path.readlink().is_absolute() and target.is_relative_to(root)


def read_commit(root: Path) -> dict[str, str | bool]:
    """Return the git commit of a project and whether files differ from it; nothing where there is no commit."""
    head = git(root, "rev-parse", "HEAD").stdout.decode().strip()
    if not re.fullmatch("[0-9a-f]{40,64}", head):
        return {}
    return {"commit": head, "changed": bool(git(root, "status", "--porcelain").stdout.strip())}


def read_changes(root: Path) -> bytes:
    """Return how tracked files differ from the commit, as a patch that git can apply."""
    return git(root, "diff", "--binary", "HEAD").stdout
