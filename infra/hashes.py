"""The hashes of a project's files, remembered so that a file that was not touched is not read again."""

import hashlib
import json
import os
import time
from pathlib import Path

from platformdirs import user_cache_path

SETTLED_NS = 2_000_000_000  # a file that was written more lately may be written again within one tick of its clock


class Hashes:
    """The SHA-256 of files by path, each good for as long as the file's size, times and inode stay."""

    def __init__(self, root: Path) -> None:
        self.root = root
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
        self.place = user_cache_path("gpujob") / "hashes" / f"{name}.json"
        self.known: dict[str, list[object]] = self.read()
        self.used: dict[str, list[object]] = {}

    def read(self) -> dict[str, list[object]]:
        """Return what an earlier run remembered; nothing if it is lost or damaged."""
        try:
            known = json.loads(self.place.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def hash_of(self, name: str, info: os.stat_result) -> str:
        """Return a file's SHA-256; raises OSError if it cannot be read."""
        stamp = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
        known = self.known.get(name)
        if known and known[:4] == stamp:
            sha256 = str(known[4])
        else:
            with (self.root / name).open("rb", buffering=0) as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        if info.st_ctime_ns < time.time_ns() - SETTLED_NS:
            self.used[name] = [*stamp, sha256]
        return sha256

    def save(self) -> None:
        """Remember what was asked for; it is only a help, so that a full disk does no harm."""
        if self.used == self.known:
            return
        part = self.place.with_name(f"{self.place.name}.{os.getpid()}")
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(json.dumps(self.used))
            part.replace(self.place)
        except OSError:
            part.unlink(missing_ok=True)
