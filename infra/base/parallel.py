"""Make calls in parallel that wait for the network."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from functools import partial
from queue import SimpleQueue
from typing import TypeVar, overload

from infra.errors import CloudError, GpujobError

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


def map_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call `function` on all items in parallel; return the results in order.

    The first exception is raised as soon as it happens, as is Ctrl-C, without waiting for the remaining calls. An executor
    would wait for them, for minutes.
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


def try_parallel(
    function: Callable[[T], R], items: Iterable[T], limit_s: float | None = None
) -> tuple[dict[T, R], dict[T, GpujobError]]:
    """Call `function` on all items in parallel; return results and errors by item, both in order.

    A call that has not returned within `limit_s` counts as failed, but continues in its thread.
    """

    def attempt(item: T) -> R | GpujobError:
        try:
            return function(item)
        except GpujobError as error:
            return error

    futures = {item: start(partial(attempt, item)) for item in dict.fromkeys(items)}
    wait(futures.values(), limit_s, FIRST_EXCEPTION)
    failed = next((one for one in futures.values() if one.done() and one.exception()), None)
    if failed:
        failed.result()
    late = CloudError(f"no answer within {limit_s or 0:g} s", "check the network, then rerun; or name a --region")
    outcomes = {item: future.result() if future.done() else late for item, future in futures.items()}
    results = {item: one for item, one in outcomes.items() if not isinstance(one, GpujobError)}
    return results, {item: one for item, one in outcomes.items() if isinstance(one, GpujobError)}


@overload
def call_parallel(a: Callable[[], A], b: Callable[[], B], /) -> tuple[A, B]: ...


@overload
def call_parallel(a: Callable[[], A], b: Callable[[], B], c: Callable[[], C], /) -> tuple[A, B, C]: ...


@overload
def call_parallel(
    a: Callable[[], A], b: Callable[[], B], c: Callable[[], C], d: Callable[[], D], e: Callable[[], E], /
) -> tuple[A, B, C, D, E]: ...


def call_parallel(*functions: Callable[[], object]) -> tuple[object, ...]:
    """Call all functions in parallel; return their results, or raise the first exception at once."""
    return tuple(map_parallel(lambda function: function(), functions))


def start(function: Callable[[], R]) -> Future[R]:
    """Call a function in the background; the future has its result or exception."""
    future: Future[R] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future
