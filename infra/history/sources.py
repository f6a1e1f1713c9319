"""The code of a run: its commit with its changes, as far as both are on this computer."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from infra.errors import ProjectError
from infra.git.past import Past, Workshop, open_workshop
from infra.git.repository import COMMIT, find_repository
from infra.history.runs import Run
from infra.project.files import Project, read_file
from infra.project.hashes import Hashes
from infra.project.settings import read_settings
from infra.results.folder import CHANGES, UNPATCHED

MOST_BYTES = 64 << 20


def read_past(run: Run) -> Past:
    """Return the code that a run's records describe; raises ProjectError if incomplete."""
    source = run.job.source
    commit = str(source.get("commit", ""))
    if not COMMIT.fullmatch(commit):
        raise ProjectError(f"run {run.key} has no git commit, so its code is not known")
    patch = read_record(run, CHANGES, str(source.get("changes_sha256", "")))
    record = parse(read_record(run, UNPATCHED, str(source.get("record_sha256", ""))))
    missing = next((name_of(part) for key in ("files", "repositories") for part in listed(record, key)), None)
    if missing:
        raise ProjectError(f"'{missing}' of run {run.key} is neither in its commit nor in its {CHANGES}")
    absent = tuple(path for path in listed(record, "not_uploaded") if isinstance(path, str) and "\0" not in path)
    return Past(commit, patch, absent)


def read_record(run: Run, name: str, sha256: str) -> bytes:
    """Return a record of a run's code, empty if it has none; raises ProjectError if modified."""
    if not sha256:
        return b""
    content = run.read_end(PurePosixPath(name), MOST_BYTES)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ProjectError(f"{run.folder / name} is missing or was modified")
    return content


def parse(content: bytes) -> Any:
    """Return a record's JSON."""
    try:
        return json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise ProjectError(f"invalid {UNPATCHED}") from error


def listed(record: Any, key: str) -> list[Any]:
    """Return a list of a record."""
    found = record.get(key) if isinstance(record, dict) else None
    return found if isinstance(found, list) else []


def name_of(part: Any) -> str:
    """Return the path of a file or repository in a record."""
    return str(part.get("path", "?")) if isinstance(part, dict) else "?"


@contextmanager
def open_code(root: Path, commit: str) -> Iterator[Workshop]:
    """Yield a temporary folder in which the code of a project's commits can be read; raises ProjectError."""
    repository = find_repository(root)
    if repository is None:
        raise ProjectError(f"{root} is not a git repository")
    with tempfile.TemporaryDirectory(prefix="gpujob-", ignore_cleanup_errors=True) as place:
        folder = Path(place).resolve() / root.name
        folder.mkdir()
        with open_workshop(repository, folder, commit) as workshop:
            yield workshop


def compare_code(root: Path, before: Run, after: Run) -> bytes:
    """Return the difference between the code of two runs as a patch; raises ProjectError if unknown."""
    first, second = read_past(before), read_past(after)
    with open_code(root, first.commit) as workshop:
        return workshop.compare(workshop.make_tree(first), workshop.make_tree(second))


@contextmanager
def check_out(root: Path, run: Run, workdir: str) -> Iterator[Project]:
    """Yield a temporary copy of a project with a run's code; raises ProjectError if unavailable."""
    past, repository = read_past(run), find_repository(root)
    with open_code(root, past.commit) as workshop:
        folder = workshop.commit.top
        workshop.make_tree(past)
        paths = workshop.check_out()
        if repository is not None:
            workshop.make_repository(repository.objects.absolute())
        if not (folder / workdir).resolve().is_relative_to(folder) or not (folder / workdir).is_dir():
            raise ProjectError(f"the code of run {run.key} has no folder '{workdir}'")
        settings, hashes = read_settings(folder), Hashes(folder)
        try:
            yield Project(
                root=folder,
                workdir=workdir,
                files=tuple(filter(None, (read_file(folder, path, hashes) for path in sorted(paths)))),
                folders=(),
                withheld=(),
                outputs=settings.outputs,
                unwanted=settings.unwanted,
                repositories=("",),
                copy_of=root,
            )
        finally:
            for kind in ("", "sha1", "sha256"):  # the folder is temporary
                Hashes(folder, kind).place.unlink(missing_ok=True)
