"""What tools make again where they need it: it is neither uploaded nor downloaded. One list for the client and the agent.

A name with a slash in it is looked for at the end of a path, any other in its last part alone.
"""

from __future__ import annotations

import fnmatch
import os
import re
from functools import lru_cache
from typing import Iterable, Iterator, Sequence

CACHES = (
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    ".tox",
    ".nox",
    ".ipynb_checkpoints",
    ".cache/huggingface",
    ".cache/torch",
    ".cache/pip",
    ".cache/uv",
    "core.[0-9]*",
)
# What a job downloads for itself. A project may well hold such a folder on purpose, and then it is uploaded.
DATASETS = (
    *("MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "QMNIST/raw", "EMNIST/raw"),
    *("cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar-100-python", "cifar-100-python.tar.gz"),
)
# What makes a folder a virtual environment (https://docs.python.org/3/library/venv.html), or one of conda's.
ENVIRONMENTS = ("pyvenv.cfg", "conda-meta/history")


def is_cache(name: str, patterns: Sequence[str] = CACHES) -> bool:
    """Tell whether a path, by its end, is a cache; what lies inside of one is for the caller to leave out."""
    short, long = compile_all(tuple(patterns))
    return bool(short.match(name.rpartition("/")[2]) or long.match(name))


def with_parents(name: str) -> Iterator[str]:
    """Yield a path and every folder above it."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def lies_in_cache(name: str) -> bool:
    """Tell whether a path is a cache, or lies in one."""
    return any(is_cache(above) for above in with_parents(name))


@lru_cache(maxsize=None)
def compile_all(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return one expression for names, and one for the ends of paths: a project has thousands of either."""
    short = [fnmatch.translate(pattern) for pattern in patterns if "/" not in pattern]
    long = [f"(?:.*/)?{fnmatch.translate(pattern)}" for pattern in patterns if "/" in pattern]
    return re.compile("|".join(short) or "(?!)"), re.compile("|".join(long) or "(?!)")


def is_environment(folder: str) -> bool:
    """Tell whether a folder is an environment of Python's, whatever its name."""
    return any(os.path.exists(f"{folder}/{name}") for name in ENVIRONMENTS)  # noqa: PTH110  called for every folder


def is_excluded(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a path, a folder above it, or a part of it is of one of these patterns."""
    parts = name.split("/")
    for pattern in (each.strip("/") for each in patterns):
        whole = ["/".join(parts[: at + 1]) for at in range(len(parts))] if "/" in pattern else parts
        if any(fnmatch.fnmatchcase(each, pattern) for each in whole):
            return True
    return False
