"""Choose the archive from which the agent is imported; `packing` runs this as text at every call."""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from importlib._bootstrap_external import MAGIC_NUMBER

DIGEST_BYTES = 32


def choose_archive() -> str:
    """Return the compiled archive if it is whole and only this user can write to it; else the source's."""
    try:
        descriptor = os.open(compiled_path(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            info = os.fstat(descriptor)
            private = info.st_uid == os.getuid() and not info.st_mode & 0o022
            whole = private and file.read(DIGEST_BYTES) == sha256(file.read()).digest()
    except OSError:
        whole = False
    return compiled_path() if whole else sys.argv[0]


def compiled_path() -> str:
    """Return where the archive is kept that is compiled for this interpreter; `bytecode` writes it."""
    return f"{os.path.realpath(sys.argv[0]).rpartition('.')[0]}.{MAGIC_NUMBER.hex()}.pyz"
