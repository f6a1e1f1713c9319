"""Places where jobs write outside their working trees, and the files of tools and shells there."""

from __future__ import annotations

import fnmatch
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Iterator, NamedTuple

from ..caches import CACHES, DATASETS, is_cache, is_environment
from ..records import folder_of, parent_of, read_json
from .asked import is_below

# Common data folders outside the home: the playbook's scratch disk, and usual mount points.
DATA = ("/scratch", "/data", "/mnt", "/workspace", "/opt/dlami/nvme")
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  looked into, never written to
HOME_TOOLS = (
    *(
        ".*history",
        ".lesshst",
        ".viminfo",
        ".wget-hsts",
        ".sudo_as_admin_successful",
        ".Xauthority",
        ".bash*",
        ".profile",
    ),
    *(".ansible", ".cargo", ".conda", ".config", ".docker", ".dotnet", ".ipython", ".jupyter", ".kube", ".npm", ".nv"),
    *(
        ".gitconfig",
        ".rustup",
        ".triton",
        ".vscode-server",
        ".cursor-server",
        ".keras",
        "nltk_data",
        "scikit_learn_data",
    ),
    *(".local/bin", ".local/lib", ".local/state", ".local/share/jupyter", ".local/share/uv", "snap", "mambaforge"),
    *(
        "anaconda3",
        "miniconda3",
        "miniforge3",
        ".cache/conda",
        ".cache/gpujob",  # images decoded by jobs.train
        ".cache/fontconfig",
        ".cache/kagglehub",
        ".cache/matplotlib",
    ),
    *(".cache/mesa_shader_cache*", ".cache/motd*", ".cache/nvidia", ".cache/triton", ".cache/wandb", ".cache/vllm"),
)
TEMPORARY_TOOLS = (
    *(
        ".*",
        "ansible*",
        "cuda*",
        "hsperfdata_*",
        "jax_*",
        "matplotlib-*",
        "node-compile-cache",
        "npm-*",
        "nvidia-*",
        "pip-*",
    ),
    *("pymp-*", "pyright-*", "pytest-of-*", "ray", "runtime-*", "snap*", "ssh-*", "systemd-private-*", "tmux-*"),
    *("torch_extensions*", "torchelastic_*", "torchinductor_*", "triton*", "uv-*", "v8-compile-cache*", "wandb-*"),
)


class Place(NamedTuple):
    """A folder that jobs write to."""

    root: str
    job: int = 0
    """The only job that writes there; 0 for any."""
    temporary: bool = False
    shared: bool = False
    """Whether other users write there too, so that only the user's own files count."""
    tools: tuple[str, ...] = ()
    """Patterns of relative paths that belong to tools."""


def list_places(jobs: list[int]) -> Iterator[Place]:
    """Yield each folder these jobs may have written to, without duplicates."""
    home = os.path.realpath(Path.home())
    for job in jobs:
        yield Place(os.path.realpath(parent_of(folder_of(job))), job)
    yield Place(home, tools=HOME_TOOLS)
    chosen = [read_json(folder_of(job) / "job.json")["env"].get("TMPDIR", "") for job in jobs]
    for path in dict.fromkeys((*chosen, *TEMPORARY, os.environ.get("TMPDIR", ""))):
        if path.startswith("/") and not is_below(os.path.realpath(path), home):
            shared = path not in chosen
            yield Place(os.path.realpath(path), temporary=True, shared=shared, tools=TEMPORARY_TOOLS if shared else ())
    if not is_local():
        yield from (Place(os.path.realpath(path), shared=True) for path in DATA if os.path.isdir(path))  # noqa: PTH112


def list_others(jobs: list[int]) -> set[str]:
    """Return folders inside these places that contain no job's files."""
    home = Path(os.path.realpath(Path.home()))
    # Local cloud machines share the disk with the laptop, whose home and projects may be below /tmp.
    projects = [str(read_json(folder_of(job) / "job.json")["source"].get("project", "")) for job in jobs]
    return {*map(str, (home, *home.parents)), *(map(os.path.realpath, projects) if is_local() else ())} - {"/"}


def is_local() -> bool:
    """Return whether this is a machine of the local cloud."""
    return "GPUJOB_LOCAL_HOST" in os.environ


def is_tool(place: Place, name: str, path: str, is_folder: bool) -> bool:
    """Return whether a path belongs to a tool; `name` is relative to the place."""
    depth = name.count("/")
    own = compile_tools(place.tools, depth)
    return bool(own.match(name)) or is_cache(name, (*CACHES, *DATASETS)) or (is_folder and is_environment(path))


@lru_cache(maxsize=None)
def compile_tools(tools: tuple[str, ...], depth: int) -> re.Pattern[str]:
    """Compile the patterns with `depth` slashes into one expression: `*` must not match a slash."""
    return re.compile("|".join(fnmatch.translate(tool) for tool in tools if tool.count("/") == depth) or "(?!)")
