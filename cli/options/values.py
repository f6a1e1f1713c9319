"""Parse option values."""

import re
from pathlib import Path

import click

from cli.options.durations import NUMBER
from infra.model import Gpu

JobName = int | str
"""A job as typed: its number or its name."""


def as_on_node(path: str) -> str:
    """Return a path for the node: the local home folder, expanded by the shell, becomes `~` again."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path == home or path.startswith(f"{home}/") else path


def parse_gpu(value: str) -> Gpu:
    """Parse NAME or NAME:COUNT, as in A10G or H100:8."""
    name, _, count = value.partition(":")
    if not name or not re.fullmatch("0*[1-9][0-9]{0,3}", count or "1"):
        raise click.BadParameter(f"'{value}' is not NAME or NAME:COUNT, such as A10G or H100:8")
    return Gpu(name, int(count or 1))


def parse_any_gpu(value: str) -> Gpu:
    """Parse NAME or NAME:COUNT; without a count, the count is 0, which matches any."""
    found = parse_gpu(value)
    return found if ":" in value else Gpu(found.name, 0)


def parse_positive(value: str, what: str) -> float:
    """Return a positive number."""
    number = float(value) if NUMBER.fullmatch(value) else 0
    if number <= 0:
        raise click.BadParameter(f"'{value}' is not {what}")
    return number


def parse_usd(value: str) -> float:
    """Return a positive amount of money."""
    return parse_positive(value, "a positive amount in USD, such as 5 or 2.50")


def parse_memory(value: str) -> float:
    """Return a positive size in GB; 24, 24G and 24GB are the same."""
    return parse_positive(
        re.sub(r"\s*(?:g|gb|gib)$", "", value, flags=re.IGNORECASE), "a positive size in GB, such as 24"
    )


def parse_job(value: str) -> JobName:
    """Return a job's number, or its name if it is not a number."""
    if not re.fullmatch("[0-9]{1,12}", value):
        return value
    if not int(value):
        raise click.BadParameter("jobs are numbered from 1")
    return int(value)


def parse_task(value: str) -> tuple[JobName, int | None]:
    """Return a job's number or name, and of 12.17 the index of the array's task."""
    found = re.fullmatch(r"([0-9]{1,12})\.([0-9]{1,9})", value)
    return (parse_job(found[1]), int(found[2])) if found else (parse_job(value), None)


def parse_ports(value: str) -> tuple[int, int]:
    """Parse PORT or PORT:REMOTE into the local and the remote port."""
    found = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", value)
    ports = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(0 < port < 65536 for port in ports):
        raise click.BadParameter(f"'{value}' is not PORT or PORT:REMOTE, such as 8888 or 8080:80")
    return ports
