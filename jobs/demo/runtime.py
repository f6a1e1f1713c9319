"""onnxruntime-web, which runs ONNX models in browsers: downloaded from npm once, and checked.

It is not part of the distribution: most users never need its megabytes.
"""

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from ..errors import DataError
from ..images.cache import FOLDER
from ..program import say

VERSION = "1.30.0"
ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
REGISTRY = "https://registry.npmjs.org"
TIMEOUT_S = 30
MOST_BYTES = 100_000_000
"""Of the archive, which has 33 MB."""
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


@dataclass(frozen=True)
class Runtime:
    """The two files that a page needs, each compressed by gzip."""

    script: bytes
    wasm: bytes


def find_runtime() -> Runtime:
    """Return onnxruntime-web from the cache, or download it into that. Raises DataError."""
    folder = FOLDER / f"onnxruntime-web-{VERSION}"
    with suppress(OSError, ValueError, EOFError):
        return Runtime(read(folder, SCRIPT), read(folder, WASM))
    archive = folder / ARCHIVE
    try:
        content = archive.read_bytes() if archive.is_file() else download(folder)
        unpack(content, folder)
        return Runtime(read(folder, SCRIPT), read(folder, WASM))
    except (OSError, EOFError, ValueError, KeyError, HTTPException, tarfile.TarError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"no onnxruntime-web {VERSION}, which runs the model in a browser: {reason}\n"
            f"Where npm can be reached: npm pack onnxruntime-web@{VERSION}; then move {ARCHIVE} to {folder}"
        ) from error


def download(folder: Path) -> bytes:
    """Return the archive from npm, or another registry. Raises OSError, HTTPException, ValueError."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY
    if not registry.startswith("https://"):
        raise ValueError(f"{registry} is not an https address")
    say(f"downloading onnxruntime-web {VERSION} from npm, once: 33 MB, of which 4 MB are kept in {folder}")
    with urlopen(f"{registry.rstrip('/')}/onnxruntime-web/-/{ARCHIVE}", timeout=TIMEOUT_S) as answer:  # noqa: S310
        content: bytes = answer.read(MOST_BYTES)
    return content


def unpack(archive: bytes, folder: Path) -> None:
    """Write two files of an archive to a folder. Raises KeyError, OSError, TarError, ValueError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
        for name in SHA256:
            kept = files.extractfile(f"package/dist/{name}")
            content = kept.read() if kept else b""
            check(name, content)
            handle, part = tempfile.mkstemp(prefix=".part-", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(gzip.compress(content, mtime=0))
            Path(part).replace(folder / f"{name}.gz")


def read(folder: Path, name: str) -> bytes:
    """Return a file of the cache, checked but compressed. Raises OSError, EOFError, ValueError."""
    compressed = (folder / f"{name}.gz").read_bytes()
    check(name, gzip.decompress(compressed))
    return compressed


def check(name: str, content: bytes) -> None:
    """Raise ValueError if a file is not the one that this program was written for."""
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise ValueError(f"{name} is not that of version {VERSION}: its checksum differs")
