"""Paths of a submission: each must stay in the job's folder, whatever the client was made to send."""

from __future__ import annotations

import posixpath
from typing import Any

from ..records import AgentError


def check_paths(asked: dict[str, Any]) -> None:
    """Raise AgentError for a file, folder or link that leads out of the job's folder, by itself or through a link."""
    files = asked["files"]
    links = {file["path"] for file in files if file["link"] is not None}
    for path in [*(file["path"] for file in files), *asked["folders"]]:
        if not is_inside(path):
            raise AgentError(f"{path!r} leads out of the project")
        if links and any(path[:at] in links for at, letter in enumerate(path) if letter == "/"):
            raise AgentError(f"{path!r} lies behind a link")
    for file in files:
        if file["link"] is not None and leads_out(file["path"], file["link"]):
            raise AgentError(f"the link {file['path']!r} leads out of the project")
    workdir = asked["workdir"]
    if workdir != "." and not is_inside(workdir):
        raise AgentError(f"the working folder {workdir!r} leads out of the project")


def is_inside(path: str) -> bool:
    """Tell whether a path is relative and has none but plain names in it."""
    return "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def leads_out(path: str, link: str) -> bool:
    """Tell whether a link, as its text reads, leads out of the folder that its path starts from."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return link.startswith("/") or target == ".." or target.startswith("../")
