"""Values of options: what was typed, made of the type that it stands for."""

import re
from pathlib import Path

import click

from cli.options.durations import NUMBER
from infra.model import Gpu


def as_on_node(path: str) -> str:
    """Return a path as it is meant on the node: the home that the shell put in place of `~` is `~` again."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path == home or path.startswith(f"{home}/") else path


def parse_gpu(value: str) -> Gpu:
    """Return the GPU that NAME or NAME:COUNT asks for, as in A10G or H100:8."""
    name, _, count = value.partition(":")
    if not name or not re.fullmatch("0*[1-9][0-9]{0,3}", count or "1"):
        raise click.BadParameter(f"'{value}' is not NAME or NAME:COUNT, as in A10G or H100:8")
    return Gpu(name, int(count or 1))


def parse_any_gpu(value: str) -> Gpu:
    """Return the GPU that NAME or NAME:COUNT asks for; without a count, 0 for however many."""
    found = parse_gpu(value)
    return found if ":" in value else Gpu(found.name, 0)


def parse_positive(value: str, what: str) -> float:
    """Return a number above 0."""
    number = float(value) if NUMBER.fullmatch(value) else 0
    if number <= 0:
        raise click.BadParameter(f"'{value}' is not {what}")
    return number


def parse_usd(value: str) -> float:
    """Return an amount of money above 0."""
    return parse_positive(value, "an amount of USD above 0, such as 5 or 2.50")


def parse_memory(value: str) -> float:
    """Return a size in GB above 0; 24, 24G and 24GB are the same."""
    return parse_positive(
        re.sub(r"\s*(?:g|gb|gib)$", "", value, flags=re.IGNORECASE), "a size in GB above 0, such as 24"
    )
