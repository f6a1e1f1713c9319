"""Check a submission's paths: each must stay inside the job's folder."""

from __future__ import annotations

import posixpath
from typing import Any

from ..records import AgentError


def check_paths(asked: dict[str, Any]) -> None:
    """Raise AgentError for a file, folder or link that leads outside, directly or through a link."""
    files = asked["files"]
    links = {file["path"] for file in files if file["link"] is not None}
    for path in [*(file["path"] for file in files), *asked["folders"]]:
        if not is_inside(path):
            raise AgentError(f"{path!r} is outside the project")
        if links and any(path[:at] in links for at, letter in enumerate(path) if letter == "/"):
            raise AgentError(f"{path!r} is behind a link")
    for file in files:
        if file["link"] is not None and leads_out(file["path"], file["link"]):
            raise AgentError(f"the link {file['path']!r} leads outside the project")
    for each in asked["data"]:
        if not is_inside(each["path"]):
            raise AgentError(f"the data set {each['path']!r} is outside the project")
        if any(each["path"] == link or each["path"].startswith(f"{link}/") for link in links):
            raise AgentError(f"the data set {each['path']!r} is behind a link")
    workdir = asked["workdir"]
    if workdir != "." and not is_inside(workdir):
        raise AgentError(f"the working folder {workdir!r} is outside the project")


def is_inside(path: str) -> bool:
    """Return whether a path is relative and consists of plain names."""
    return "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def leads_out(path: str, link: str) -> bool:
    """Return whether a link's target, as written, is outside its root folder."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return link.startswith("/") or target == ".." or target.startswith("../")
