"""Decode a node's responses, checked against the expected types.

A node is not trusted: a job on it can be anything.

A type can be narrowed: `Annotated[int, range(65536)]` is a number in that range, `Annotated[str, re.compile("[a-f0-9]*")]` a
string that matches completely.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from reprlib import repr as shorten
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from infra.base.text import one_line
from infra.errors import NodeError

T = TypeVar("T")
Read = Callable[[Any], Any]
MOST = 1 << 62  # the maximum of a count or size; as a time still a valid date
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
    return find_reader(kind)(value)


@cache
def find_reader(kind: Any) -> Read:
    """Return the function that makes values of a type, cached: a response may have a million of them."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return narrow(find_reader(arguments[0]), arguments[1:])
    if is_dataclass(kind):
        return read_fields(kind)
    if origin in (Union, UnionType):
        inner = find_reader(arguments[0])
        return lambda value: None if value is None and NoneType in arguments else inner(value)
    return read_list(kind, arguments) if origin is tuple else read_plain(kind)


def narrow(inner: Read, limits: tuple[Any, ...]) -> Read:
    """Return a reader of values that are within all of these limits."""
    checks = [limit.fullmatch if isinstance(limit, re.Pattern) else limit.__contains__ for limit in limits]

    def read(value: Any) -> Any:
        made = inner(value)
        for check, limit in zip(checks, limits, strict=True):
            if not check(made):
                raise ValueError(f"{shorten(made)} is not within {shorten(limit)}")
        return made

    return read


def read_list(kind: Any, arguments: tuple[Any, ...]) -> Read:
    """Return a reader of tuples, which are lists in JSON."""
    readers, endless = [find_reader(each) for each in arguments if each is not ...], arguments[-1] is ...

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise wrong(kind, value)
        if endless:
            return tuple(map(readers[0], value))
        if len(value) != len(readers):
            raise ValueError(f"{shorten(value)} does not have {len(readers)} parts")
        return tuple(reader(part) for reader, part in zip(readers, value, strict=True))

    return read


def read_fields(kind: Any) -> Read:
    """Return a reader of dataclass instances from exactly their fields."""
    hints = get_type_hints(kind, include_extras=True)
    readers = {field.name: find_reader(hints[field.name]) for field in fields(kind)}
    needed = {field.name: None for field in fields(kind) if field.default is field.default_factory is MISSING}

    def read(value: Any) -> Any:
        if not isinstance(value, dict) or not value.keys() <= readers.keys():
            raise wrong(kind, value)
        if not needed.keys() <= value.keys():
            raise ValueError(f"{kind.__name__} without {next(name for name in needed if name not in value)}")
        return kind(**{name: readers[name](part) for name, part in value.items()})

    return read


def read_plain(kind: Any) -> Read:
    """Return a reader of values of a plain type and of a reasonable size."""

    def read(value: Any) -> Any:
        if not fits(kind, value):
            raise wrong(kind, value)
        return float(value) if kind is float else value

    return read


def wrong(kind: Any, value: Any) -> ValueError:
    """Return the error that a value is not of a type."""
    return ValueError(f"{shorten(value)} is not {getattr(kind, '__name__', kind)}")


def fits(kind: Any, value: Any) -> bool:
    """Return whether a plain value is of a plain type and of a reasonable size."""
    if kind is str:
        return isinstance(value, str) and (value.isascii() or not HALF_A_LETTER.search(value))
    if kind is int:
        return type(value) is int and 0 <= value < MOST
    if kind is float:
        # This rejects NaN, which compares false, and works for an int of any length.
        return type(value) in (int, float) and 0 <= value < MOST_SECONDS
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is Mapping:
        return isinstance(value, dict)
    return kind is bool and isinstance(value, bool)
