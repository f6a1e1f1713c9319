"""An earlier job's outputs that a new one starts from: on the node, or uploaded from `runs/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.project.files import File
from infra.run.upload import Upload


@dataclass(frozen=True)
class Earlier:
    """An earlier job, and how a new one gets its outputs."""

    key: str
    """CLUSTER-NUMBER."""
    number: int = 0
    """Its number on the node, which copies them there; 0 if they are uploaded."""
    over: bool = True
    """Whether it had ended; otherwise the new job waits, and fails unless this one succeeds."""
    files: tuple[File, ...] = ()
    """The files to upload."""
    places: Mapping[str, Path] = field(default_factory=dict)
    """Where they are on this computer."""
    kept: Sequence[str] = ()
    """Outputs that are not used, because the project has changed those files since."""

    def describe(self) -> dict[str, Any] | None:
        """Return its description for the agent."""
        return {"job": self.number, "over": self.over} if self.number else None


def add_files(upload: Upload, earlier: Earlier | None) -> Upload:
    """Return an upload with the files of an earlier job in place of the project's own."""
    if earlier is None or not earlier.files:
        return upload
    names = {file.path for file in earlier.files}
    files = (*(file for file in upload.project.files if file.path not in names), *earlier.files)
    return Upload(replace(upload.project, files=files), {**upload.copies, **earlier.places})
