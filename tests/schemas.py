"""What --json prints, as JSON Schema: docs/schemas, one file for each command, and docs/json.md made of them: `make docs`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tests.commands import walk

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"
PAGE = FOLDER.parent / "json.md"
HEAD = """# JSON

What each command prints with `--json`. It has all that the command shows otherwise. Numbers have the unit in their
name, times are in UTC as ISO 8601 (`2026-11-24T14:05:00.000Z`), and what is not known is `null`. `make docs` writes this
page from the JSON Schemas in `docs/schemas`; a test compares them with what the commands print.
"""
Schema = dict[str, Any]


def name_of(context: click.Context) -> str:
    """Return the name of a command's schema: data-ls."""
    return "-".join(context.command_path.split()[1:])


def find_commands(group: click.Command) -> list[str]:
    """Return the names of all commands that have --json."""
    contexts = walk(group, "gpujob")
    return [name_of(one) for one in contexts if any("--json" in parameter.opts for parameter in one.command.params)]


def read_schemas() -> dict[str, Schema]:
    """Return the schemas by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def list_fields(schema: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the fields of a schema, those below others as `nodes[].state`."""
    if prefix:
        yield prefix, schema
    dot = "." if prefix else ""
    if "items" in schema and "properties" in schema["items"]:
        yield from list(list_fields(schema["items"], f"{prefix}[]"))[1:]
    for name, field in schema.get("properties", {}).items():
        yield from list_fields(field, f"{prefix}{dot}{name}")
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and "properties" in values:
        yield from list(list_fields(values, f"{prefix}.*"))[1:]


def list_columns(schema: Schema) -> set[str]:
    """Return the headings of a command's table that are in its schema."""
    found = [field.get("column", ()) for _, field in list_fields({"properties": {"all": schema}})]
    return {name for names in found for name in ([names] if isinstance(names, str) else names)}


def describe_type(field: Schema) -> str:
    """Return the type of a field in a few words."""
    types = field.get("type", "any")
    words = [types] if isinstance(types, str) else types
    names = ["time" if word == "string" and field.get("format") == "date-time" else word for word in words]
    text = " or ".join(names)
    if "items" in field and "type" in field["items"]:
        text = f"{text} of {field['items']['type']}s"
    return text


def write_section(name: str, schema: Schema) -> str:
    """Return the section of a command."""
    kind = "A list of objects" if schema["type"] == "array" else "An object"
    rows = [
        f"| `{path.removeprefix('[].')}` | {describe_type(field)} | {describe_values(field)} |"
        for path, field in list_fields(schema)
        if path != "[]"
    ]
    head = f"## gpujob {name.replace('-', ' ')}\n\n{schema['title']}. {kind}; schema: [{name}.json](schemas/{name}.json).\n"
    return "\n".join([head, "| field | type | meaning |", "|---|---|---|", *rows, ""])


def describe_values(field: Schema) -> str:
    """Return what a field means, with the values that it may have."""
    values = ", ".join(f"`{value}`" for value in field.get("enum", ()))
    return f"{field.get('description', '')}{f' One of: {values}.' if values else ''}"


def write_page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(write_section(name, schema) for name, schema in read_schemas().items())])


def main() -> None:
    """Write the page."""
    PAGE.write_text(write_page())
    sys.stdout.write(f"docs/json.md: {len(read_schemas())} commands\n")


if __name__ == "__main__":
    main()
