"""The provenance of a model: when and how it was made, and the settings of its run."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from ..config.recipe import Recipe, option
from .report import Table


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
    """Return how the model was made, from args.json and, if there is one, the job's receipt.

    Neither folders nor the command nor the job's identifiers: the page may be passed on.
    """
    kept, receipt = read_json(model.parent / "args.json"), find_receipt(model)
    job = receipt.get("job", {}) if isinstance(receipt.get("job", {}), dict) else {}
    source = job.get("source", {}) if isinstance(job.get("source", {}), dict) else {}
    commit = source.get("commit") or kept.get("commit") or ""
    facts = {
        "Commit": f"{str(commit)[:12]}{' with changes' if source.get('changed') else ''}" if commit else "",
        "Date": format_date(kept.get("started")),
        "Data set": Path(str(kept.get("data_set") or data)).name,
        "Model": kept.get("model", ""),
        "Device": kept.get("device", ""),
        "Duration": format_duration(kept.get("seconds")),
        "Test accuracy": f"{kept['test_accuracy']:.1%}" if isinstance(kept.get("test_accuracy"), float) else "",
    }
    return Table("Provenance", [(name, value) for name, value in facts.items() if value])


def show_settings(model: Path) -> list[Table]:
    """Return how the model was trained: the settings of its recipe that are not off, without folders."""
    kept = read_json(model.parent / "args.json")
    recipe = [(each.name, kept.get(each.name)) for each in fields(Recipe)]
    shown = [(option(name).removeprefix("--"), value) for name, value in recipe if value not in (None, "", False, 0)]
    return [Table("Settings", shown)] if shown else []


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
