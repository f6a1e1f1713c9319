"""The GPUs of this computer, if any: what jobs on the local cloud need to use them."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

TOOL, LIBRARY = "nvidia-smi", "libcuda.so*"
LIBRARIES = "LD_LIBRARY_PATH"


def link_tool(folder: Path, own: Mapping[str, str], path: str) -> None:
    """Link nvidia-smi into a machine's PATH if only this computer's own PATH has it, as on WSL."""
    link, tool = folder / TOOL, shutil.which(TOOL, path=own.get("PATH", os.defpath))
    link.unlink(missing_ok=True)
    if tool and not shutil.which(TOOL, path=path):
        link.symlink_to(tool)


def find_libraries(own: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that leads to the driver's library, if one does, as in some containers."""
    folders = [
        folder for folder in own.get(LIBRARIES, "").split(os.pathsep) if folder and any(Path(folder).glob(LIBRARY))
    ]
    return {LIBRARIES: os.pathsep.join(folders)} if folders else {}
