"""The options of a job, recorded so that it can be run again; of variables only the names."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from infra.base.decoding import decode
from infra.errors import NodeError
from infra.model import HANG_AFTER_S, Array, Request

APART = ("command", "data", "terminal", "array")  # recorded elsewhere, or not at all


@dataclass(frozen=True)
class ArraySettings:
    """How the tasks of an array were run."""

    count: int
    """How many tasks there were."""
    at_once: int | None = None
    share: int | None = None
    retries: int = 0


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
    array: ArraySettings | None = None

    def make_request(self, command: tuple[str, ...], env: Mapping[str, str], secrets: Mapping[str, str]) -> Request:
        """Return the request of another job with these options."""
        kept = {name: value for name, value in vars(self).items() if name not in ("workdir", "env", "secrets", "array")}
        return Request(command, env=env, secrets=secrets, **kept)


def describe_options(request: Request, workdir: str) -> dict[str, Any]:
    """Return the options of a request as its record has them."""
    names = {"workdir": workdir, "env": sorted(request.env), "secrets": sorted(request.secrets)}
    kept = {name: value for name, value in vars(request).items() if name not in (*APART, *names)}
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in {**kept, **names}.items()}
    return {**found, "array": describe_array(request.array)} if request.array else found


def describe_array(array: Array) -> dict[str, Any]:
    """Return the settings of an array as its record has them; its tasks are in the receipt."""
    count = array.count or len(array.tasks)
    return asdict(ArraySettings(count, array.at_once, array.share, array.retries))


def read_options(source: Mapping[str, Any]) -> Options | None:
    """Return the recorded options of a job; None if there are none, or they are invalid."""
    try:
        return decode(Options, source["options"])
    except (KeyError, NodeError):
        return None
