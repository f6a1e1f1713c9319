"""The GPUs of this computer, if it has any: what a machine of the local cloud needs so that its jobs can use them."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

TOOL, LIBRARY = "nvidia-smi", "libcuda.so*"
LIBRARIES = "LD_LIBRARY_PATH"


def link_tool(folder: Path, own: Mapping[str, str], path: str) -> None:
    """Link nvidia-smi into a folder of a machine's PATH if only this computer's own PATH has it, as on WSL."""
    link, tool = folder / TOOL, shutil.which(TOOL, path=own.get("PATH", os.defpath))
    link.unlink(missing_ok=True)
    if tool and not shutil.which(TOOL, path=path):
        link.symlink_to(tool)


def find_libraries(own: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that leads to the driver's library, where only a variable does, as in some containers."""
    folders = [
        folder for folder in own.get(LIBRARIES, "").split(os.pathsep) if folder and any(Path(folder).glob(LIBRARY))
    ]
    return {LIBRARIES: os.pathsep.join(folders)} if folders else {}
