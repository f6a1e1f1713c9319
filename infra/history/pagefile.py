"""The page of all runs, `runs/index.html`, ignored by git; it never replaces a file of the user's."""

from pathlib import Path

from infra.base.folders import local_errors, read_file, write_file
from infra.errors import ProjectError
from infra.results.folder import open_runs

PAGE, IGNORE = "index.html", ".gitignore"
MARK = b"<!doctype html><!-- written by gpujob runs --html -->\n"
IGNORED = f"/{PAGE}\n/{IGNORE}\n".encode()


def write_page(runs: Path, body: str) -> Path:
    """Write the page and return its path; raises ProjectError if a file of that name is the user's."""
    path = runs / PAGE
    with open_runs(runs, "then rerun") as within, local_errors(path, "then rerun"):
        known = read_file(PAGE, within)
        if (known is not None and not known.startswith(MARK)) or (known is None and path.is_symlink()):
            raise ProjectError(f"{path} was not written by gpujob, and was not replaced", "move it, then rerun")
        if read_file(IGNORE, within) is None and not (runs / IGNORE).is_symlink():
            write_file(IGNORE, within, IGNORED)
        write_file(PAGE, within, MARK + body.encode(errors="replace"))
    return path
