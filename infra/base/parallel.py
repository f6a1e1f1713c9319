"""Many calls at once, for calls that wait for something far away."""

import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TypeVar, overload

from infra.errors import GpujobError

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


def map_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return what `function` makes of each item, all at once, in the order of the items.

    The first exception is raised as soon as it happens, and so is Ctrl-C: nothing here waits for the calls that are left,
    which an executor would do for minutes.
    """
    asked = list(items)
    if len(asked) < 2:
        return [function(item) for item in asked]
    done: SimpleQueue[tuple[int, R | None, BaseException | None]] = SimpleQueue()

    def call(index: int, item: T) -> None:
        try:
            done.put((index, function(item), None))
        except BaseException as error:
            done.put((index, None, error))

    for index, item in enumerate(asked):
        threading.Thread(target=call, args=(index, item), daemon=True).start()
    results: dict[int, R] = {}
    for _ in asked:
        index, result, error = done.get()
        if error is not None:
            raise error
        results[index] = result  # type: ignore[assignment]
    return [results[index] for index in range(len(asked))]


def try_parallel(function: Callable[[T], R], items: Iterable[T]) -> tuple[list[R], dict[T, GpujobError]]:
    """Return what `function` makes of the items that it can be asked about, and for each other item why it cannot.

    Raises the first of these errors if there is nothing else: then nobody knows anything.
    """

    def attempt(item: T) -> R | GpujobError:
        try:
            return function(item)
        except GpujobError as error:
            return error

    asked = list(items)
    outcomes = map_parallel(attempt, asked)
    refused = {item: outcome for item, outcome in zip(asked, outcomes, strict=True) if isinstance(outcome, GpujobError)}
    if asked and len(refused) == len(asked):
        raise next(iter(refused.values()))
    return [outcome for outcome in outcomes if not isinstance(outcome, GpujobError)], refused


@overload
def call_parallel(a: Callable[[], A], b: Callable[[], B], /) -> tuple[A, B]: ...


@overload
def call_parallel(a: Callable[[], A], b: Callable[[], B], c: Callable[[], C], /) -> tuple[A, B, C]: ...


@overload
def call_parallel(
    a: Callable[[], A], b: Callable[[], B], c: Callable[[], C], d: Callable[[], D], e: Callable[[], E], /
) -> tuple[A, B, C, D, E]: ...


def call_parallel(*functions: Callable[[], object]) -> tuple[object, ...]:
    """Return what each function returns, all called at once; the first exception is raised as soon as it happens."""
    return tuple(map_parallel(lambda function: function(), functions))


def start(function: Callable[[], R]) -> Callable[[], R]:
    """Call a function in the background; return what waits for it and returns or raises what it did."""
    done: SimpleQueue[tuple[R | None, BaseException | None]] = SimpleQueue()

    def call() -> None:
        try:
            done.put((function(), None))
        except BaseException as error:
            done.put((None, error))

    threading.Thread(target=call, daemon=True).start()

    def result() -> R:
        value, error = done.get()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    return result
