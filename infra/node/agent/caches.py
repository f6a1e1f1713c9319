"""List the files that tools recreate on demand, which are neither uploaded nor downloaded.

Client and agent share this list. A pattern with a slash matches the end of a path, any other only its last part.
"""

from __future__ import annotations

import fnmatch
import os
import re
from functools import lru_cache
from typing import Iterable, Iterator, Sequence

BYTE_CODE = "__pycache__"
"""Python writes such a folder into each that has a module: it is not even mentioned."""
CACHES = (
    BYTE_CODE,
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
# Datasets that a job downloads. A project that contains such a folder on purpose still has it uploaded.
DATASETS = (
    *("MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "QMNIST/raw", "EMNIST/raw"),
    *("cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar-100-python", "cifar-100-python.tar.gz"),
)
# Files that mark a folder as a virtual environment (https://docs.python.org/3/library/venv.html) or a conda environment.
ENVIRONMENTS = ("pyvenv.cfg", "conda-meta/history")


def is_cache(name: str, patterns: Sequence[str] = CACHES) -> bool:
    """Return whether a path is a cache by its name; the caller skips everything inside."""
    short, long = compile_all(tuple(patterns))
    return bool(short.match(name.rpartition("/")[2]) or long.match(name))


def with_parents(name: str) -> Iterator[str]:
    """Yield a path and every folder above it."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def lies_in_cache(name: str) -> bool:
    """Return whether a path is a cache or inside one."""
    return any(is_cache(above) for above in with_parents(name))


@lru_cache(maxsize=None)
def compile_all(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile patterns into one expression for names and one for path suffixes, for speed."""
    short = [fnmatch.translate(pattern) for pattern in patterns if "/" not in pattern]
    long = [f"(?:.*/)?{fnmatch.translate(pattern)}" for pattern in patterns if "/" in pattern]
    return re.compile("|".join(short) or "(?!)"), re.compile("|".join(long) or "(?!)")


def is_environment(folder: str) -> bool:
    """Return whether a folder is a Python environment, whatever its name."""
    return any(os.path.exists(f"{folder}/{name}") for name in ENVIRONMENTS)  # noqa: PTH110  called for every folder


def is_excluded(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a path, one of its parents or one of its parts matches a pattern."""
    parts = name.split("/")
    for pattern in (each.strip("/") for each in patterns):
        whole = ["/".join(parts[: at + 1]) for at in range(len(parts))] if "/" in pattern else parts
        if any(fnmatch.fnmatchcase(each, pattern) for each in whole):
            return True
    return False
