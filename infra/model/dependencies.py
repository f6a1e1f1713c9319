"""A job's dependencies, from its project's nearest manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["requirements", "uv.lock", "pylock", "conda"]


@dataclass(frozen=True)
class Dependencies:
    """A manifest, read on this computer and resolved on the node; paths are relative to the project."""

    manifest: str
    """The file as shown to the user."""
    kind: Kind = "requirements"
    folder: str = "."
    """Where uv runs."""
    lines: tuple[str, ...] = ()
    """Requirements, and the options of a requirements file that say where packages are."""
    constraints: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Files that uv reads itself: pyproject.toml, setup.py, a script."""
    groups: tuple[str, ...] = ()
    """Dependency groups that uv reads itself, as FILE:GROUP."""
    options: tuple[str, ...] = ()
    """Options of uv: extras, pre-releases, those of `uv export`."""
    watched: tuple[str, ...] = ()
    """Files that decide what is installed and are not copied into `lines`."""
    projects: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Folders of the project that the manifest requires, with extras; imported in place."""
    locked: bool = False
    """Whether the versions are those of a lock, not the project's own constraints."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """With a lock: the project's own constraint of each package, by its name."""
    notes: tuple[str, ...] = ()
    """What the user should know before the job starts, such as what is not installed."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Credentials of URLs, by the variable that replaces them; never recorded."""
