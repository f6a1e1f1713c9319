"""Keep the agent compiled for the machine's interpreter; compiling takes a third of a submission.

The compiled archive is in the agent's folder, and is named after it and the interpreter's format. It begins with the SHA-256 of
the rest: like the check in `packing`, that guards against accidents, not against a hostile job. `start` chooses between them.
"""

from __future__ import annotations

import io
import marshal
import os
import sys
import zipfile
from hashlib import sha256
from importlib._bootstrap_external import MAGIC_NUMBER
from pathlib import Path

from .start import choose_archive, compiled_path

# PEP 552: a hash in place of times, which is not compared with a source; then that hash.
HEADER = MAGIC_NUMBER + b"\1\0\0\0" + bytes(8)


def compile_agent() -> None:
    """Write the compiled archive, atomically, unless a whole one is there."""
    if choose_archive() == compiled_path():
        return
    source, content = os.path.realpath(sys.argv[0]), io.BytesIO()
    with zipfile.ZipFile(source) as sources, zipfile.ZipFile(content, "w") as compiled:
        for name in sources.namelist():
            code = compile(sources.read(name), f"{source}/{name}", "exec", dont_inherit=True)
            compiled.writestr(zipfile.ZipInfo(f"{name}c"), HEADER + marshal.dumps(code))
    path = Path(compiled_path())
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.touch(0o600)
        temporary.write_bytes(sha256(content.getvalue()).digest() + content.getvalue())
        temporary.chmod(0o400)
        temporary.replace(path)
    finally:
        if temporary.exists():  # a full disk
            temporary.unlink()
