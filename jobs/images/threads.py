"""Work on many files in threads, without holding more than a few of them at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

WAITING = 1024
"""The most items handed to the threads at once: a million take two gigabytes while they wait."""


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield `work` of each item in order, done in threads: reading, decoding and hashing release the GIL."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), WAITING):
            yield from pool.map(work, items[start : start + WAITING])
