"""Tell a client that looks for outputs again and again only what has changed since it looked last."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from ..records import read_json, write_json


def tell(record: Path, outputs: list[dict[str, Any]], since: str, again: bool) -> dict[str, Any]:
    """Return the outputs, or how they differ from the last recorded listing if `since` is its token.

    With `again`, record what was sent, for the next call.
    """
    told = read_json(record, {}) if since else {}
    if not since or told.get("token") != since:
        token = write(record, outputs) if again else ""
        return {"outputs": outputs, "gone": [], "since": "", "token": token}
    before = {key_of(each): each for each in told["outputs"]}
    now = {key_of(each): each for each in outputs}
    changed = [each for key, each in now.items() if before.get(key) != each]
    gone = [{"path": path, "outside": outside} for outside, path in before if (outside, path) not in now]
    token = write(record, outputs) if changed or gone else since
    return {"outputs": changed, "gone": gone, "since": since, "token": token}


def key_of(output: dict[str, Any]) -> tuple[bool, str]:
    """Return what identifies an output."""
    return output["outside"], output["path"]


def write(record: Path, outputs: list[dict[str, Any]]) -> str:
    """Record a listing; return its token, or "" if the disk is full."""
    token = f"{time.time_ns():x}"
    try:
        write_json(record, {"token": token, "outputs": outputs})
    except OSError:
        with contextlib.suppress(OSError):
            record.unlink()
        return ""
    return token
