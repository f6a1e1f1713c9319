"""Decode a node's responses, checked against the expected types.

A node is not trusted: a job on it can be anything.

A type can be narrowed: `Annotated[int, range(65536)]` is a number in that range, `Annotated[str, re.compile("[a-f0-9]*")]` a
string that matches completely.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from reprlib import repr as shorten
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from infra.base.text import one_line
from infra.errors import NodeError

T = TypeVar("T")
MOST = 1 << 62  # the most that a count or size may be, and for times still a valid date
MOST_SECONDS = 1e11
# https://peps.python.org/pep-0383/: \udc80 to \udcff represent the bytes of a name that is not UTF-8; no others can be encoded.
HALF_A_LETTER = re.compile("[\ud800-\udc7f\udd00-\udfff]")
# Of one response: parsed JSON takes up to fifty times its size in memory if it is all brackets.
MOST_PARTS = 2_000_000
HINT = "gpujob jobs"


def parse(answer: bytes, hint: str = HINT) -> Any:
    """Return the parsed JSON of a node; raises NodeError if it is invalid or has too many parts."""
    if sum(map(answer.count, (b",", b"[", b"{"))) > MOST_PARTS:
        raise NodeError("the agent's response is too large", hint)
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise invalid(answer[:200], hint) from error


def decode(kind: type[T], value: Any) -> T:
    """Return parsed JSON as a value of this type; raises NodeError if it does not fit."""
    try:
        made: T = make(kind, value)
        return made
    except (ValueError, RecursionError) as error:
        raise invalid(str(error)) from error


def invalid(said: str | bytes, hint: str = HINT) -> NodeError:
    """Return the error for an invalid response."""
    return NodeError(f"invalid response from the agent: {one_line(said, 300)}", hint)


def make(kind: Any, value: Any) -> Any:
    """Return parsed JSON as a value of this type; raises ValueError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return narrow(make(arguments[0], value), arguments[1:])
    if is_dataclass(kind):
        return make_fields(kind, value)
    if origin in (Union, UnionType):
        return None if value is None and NoneType in arguments else make(arguments[0], value)
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is not ... and len(value) != len(arguments):
            raise ValueError(f"{shorten(value)} does not have {len(arguments)} parts")
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return tuple(make(each, part) for each, part in zip(kinds, value, strict=True))
    if fits(kind, value):
        return float(value) if kind is float else value
    raise ValueError(f"{shorten(value)} is not {getattr(kind, '__name__', kind)}")


def narrow(value: Any, limits: tuple[Any, ...]) -> Any:
    """Return a value if it is within all of these limits; raises ValueError."""
    for limit in limits:
        if not (limit.fullmatch(value) if isinstance(limit, re.Pattern) else value in limit):
            raise ValueError(f"{shorten(value)} is not within {shorten(limit)}")
    return value


def make_fields(kind: Any, value: Any) -> Any:
    """Return a dataclass instance from exactly its fields; raises ValueError."""
    known = {field.name: field for field in fields(kind)}
    if not isinstance(value, dict) or set(value) - set(known):
        raise ValueError(f"{shorten(value)} is not {kind.__name__}")
    left_out = [name for name, field in known.items() if name not in value and field.default is MISSING]
    if left_out:
        raise ValueError(f"{kind.__name__} without {left_out[0]}")
    hints = get_type_hints(kind, include_extras=True)
    return kind(**{name: make(hints[name], part) for name, part in value.items()})


def fits(kind: Any, value: Any) -> bool:
    """Return whether a plain value is of a plain type and of a reasonable size."""
    if kind is float:
        # This rejects NaN, which compares false, and works for an int of any length.
        return type(value) in (int, float) and 0 <= value < MOST_SECONDS
    if kind is int:
        return type(value) is int and 0 <= value < MOST
    if kind is str:
        return isinstance(value, str) and not HALF_A_LETTER.search(value)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is Mapping:
        return isinstance(value, dict)
    return kind is bool and isinstance(value, bool)
