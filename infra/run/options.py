"""The options of a job, recorded so that it can be run again; of variables only the names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.base.decoding import decode
from infra.errors import NodeError
from infra.model import HANG_AFTER_S, Request

APART = ("command", "data", "terminal", "array")  # recorded elsewhere, or not at all


@dataclass(frozen=True)
class Options:
    """How a job was run, besides its command."""

    workdir: str = "."
    name: str = ""
    env: tuple[str, ...] = ()
    """Names of variables, whose values are not recorded."""
    secrets: tuple[str, ...] = ()
    gpus: int | None = None
    time_limit_s: float | None = None
    hang_after_s: float = HANG_AFTER_S
    kill_stalled: bool = False
    outputs: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    no_deps: bool = False
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    python: str | None = None
    start_from: str = ""
    nodes: int = 1

    def make_request(self, command: tuple[str, ...], env: Mapping[str, str], secrets: Mapping[str, str]) -> Request:
        """Return the request of another job with these options."""
        kept = {name: value for name, value in vars(self).items() if name not in ("workdir", "env", "secrets")}
        return Request(command, env=env, secrets=secrets, **kept)


def describe_options(request: Request, workdir: str) -> dict[str, Any]:
    """Return the options of a request as its record has them."""
    names = {"workdir": workdir, "env": sorted(request.env), "secrets": sorted(request.secrets)}
    kept = {name: value for name, value in vars(request).items() if name not in (*APART, *names)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in {**kept, **names}.items()}


def read_options(source: Mapping[str, Any]) -> Options | None:
    """Return the recorded options of a job; None if there are none, or they are invalid."""
    try:
        return decode(Options, source["options"])
    except (KeyError, NodeError):
        return None
