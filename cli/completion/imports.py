"""Import commands for their options only: without the libraries that connect to a cloud or a machine.

Importing those takes most of a command's startup time, and completion must not use them.
"""

import sys
from collections.abc import MutableSequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

CONNECTING = frozenset({"boto3", "botocore", "cryptography", "fabric", "invoke", "paramiko", "tenacity", "urllib3"})


class Nothing(Exception):  # noqa: N818  some of what it replaces are exceptions, some are classes
    """A stand-in for any class; accepts any arguments."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()


class Empty(ModuleType):
    """A module in which every name is an empty class."""

    __path__: MutableSequence[str] = []  # noqa: RUF012  empty

    def __getattr__(self, name: str) -> Any:
        """Return the class of this name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Nothing,), {})


class Finder(MetaPathFinder, Loader):
    """An import finder that substitutes empty modules for those that connect."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Return how to import a module; None if it does not connect."""
        return ModuleSpec(fullname, self, is_package=True) if fullname.partition(".")[0] in CONNECTING else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return an empty module."""
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module empty."""


def avoid_connections() -> None:
    """Replace the libraries that connect, for the rest of this process."""
    sys.meta_path.insert(0, Finder())
