"""The provenance of a model: the settings of its run, and the receipt of its job."""

import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .report import Table

SHOWN_ELSEWHERE = ("command", "commit", "started", "seconds", "data_set", "test_accuracy", "model", "device")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if it is missing or invalid."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def find_receipt(model: Path) -> Mapping[str, Any]:
    """Return the receipt of the job that made a model, if it was downloaded with one."""
    for folder in (model.parent, model.parent.parent, model.parent.parent.parent):
        if (folder / "receipt.json").is_file():
            return read_json(folder / "receipt.json")
    return {}


def show_provenance(model: Path, data: str) -> Table:
    """Return how the model was made, from args.json and, if there is one, the job's receipt."""
    kept, receipt = read_json(model.parent / "args.json"), find_receipt(model)
    job = receipt.get("job", {}) if isinstance(receipt.get("job", {}), dict) else {}
    source = job.get("source", {}) if isinstance(job.get("source", {}), dict) else {}
    command = job.get("command") or receipt.get("command")
    commit = source.get("commit") or kept.get("commit") or ""
    facts = {
        "Command": shlex.join(map(str, command)) if isinstance(command, list) else kept.get("command", ""),
        "Commit": f"{str(commit)[:12]}{' with changes' if source.get('changed') else ''}" if commit else "",
        "Date": format_date(kept.get("started")),
        "Data set": kept.get("data_set", data),
        "Model": kept.get("model", ""),
        "Device": kept.get("device", ""),
        "Duration": format_duration(kept.get("seconds")),
        "Test accuracy": f"{kept['test_accuracy']:.1%}" if isinstance(kept.get("test_accuracy"), float) else "",
    }
    return Table("Provenance", [(name, value) for name, value in facts.items() if value])


def show_settings(model: Path) -> list[Table]:
    """Return the remaining settings and the receipt, as far as there are any."""
    kept = read_json(model.parent / "args.json")
    settings = [(n, v) for n, v in kept.items() if v not in (None, "", False, 0) and n not in SHOWN_ELSEWHERE]
    receipt = [
        (n, v if isinstance(v, str | int | float) else json.dumps(v)[:300]) for n, v in find_receipt(model).items()
    ]
    tables = (Table("Settings", settings), Table("Receipt", receipt))
    return [table for table in tables if table.rows]


def format_date(text: object) -> str:
    """Return an ISO date with its time zone in words; "" if it is none."""
    try:
        date = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    return f"{date:%Y-%m-%d %H:%M} {date.tzname() or ''}".strip()


def format_duration(seconds: object) -> str:
    """Return seconds as 12.3 s, 4 min 5 s or 2 h 3 min; "" for anything else."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
