"""Find any of many byte strings in a text, at a speed independent of their number and length.

Python's `re` tries every alternative at every position. Here each string is represented by its first bytes, its head, and a few
calls that scan a whole text in C say where a head can be:

- Few heads are searched one after the other.
- Long heads contain a block of eight bytes that is aligned in the text, wherever they start in it. The blocks of a text are its
  64-bit numbers, and whether any of them is in a set is one call.
- Of short heads, the first or the last three bytes start at an even place in the text. With five bits of each byte, three fit
  into a character of UTF-16, and `re` has fast sets of these. One large integer makes such characters of a whole text. The
  fourth byte is in the character after it or before it.

Candidates are then compared in full.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections import defaultdict
from functools import lru_cache
from typing import Iterable, Iterator

BLOCK_BYTES = 8
LONG_BYTES = 2 * BLOCK_BYTES - 1
SHORT_BYTES = 4
FEW = 12
TRIPLE_BYTES = SHORT_BYTES - 1
BITS = 5  # of each byte of a triple: of three, and below the surrogates of UTF-16


class Matcher:
    """Finds values of at least `SHORT_BYTES` bytes; of several that start at one place, the longest."""

    def __init__(self, values: Iterable[bytes]) -> None:
        """Prepare the search for these values."""
        self.values = set(values)
        self.most_bytes = max(map(len, self.values), default=0)
        self.tails: dict[bytes, list[bytes]] = defaultdict(list)
        """The values of each head, in order."""
        for value in sorted(self.values):
            self.tails[head_of(value)].append(value)
        self.lengths = {head: sorted({len(v) for v in found}, reverse=True) for head, found in self.tails.items()}
        self.heads = sorted(self.tails)
        self.starts = {head[:size] for head in self.heads for size in range(1, SHORT_BYTES + 1)}
        self.longs = [head for head in self.heads if len(head) == LONG_BYTES]
        self.shorts = [head for head in self.heads if len(head) == SHORT_BYTES]
        self.offsets: dict[int, set[int]] = defaultdict(set)
        """Where in a long head each block is."""
        for head in self.longs:
            for at in range(BLOCK_BYTES):
                self.offsets[int.from_bytes(head[at : at + BLOCK_BYTES], sys.byteorder)].add(at)
        self.blocks = frozenset(self.offsets)
        self.triples = compile_triples(self.shorts)

    def find(self, text: bytes, final: bool = False) -> tuple[list[tuple[int, int]], int]:
        """Return the values in a text from left to right, and how much of the text is settled.

        Unless it is `final`, the remainder may be the start of a value.
        """
        found: list[tuple[int, int]] = []
        end = 0
        for at in sorted({*self.find_heads(text), *self.find_starts(text)}):
            if at < end:
                continue
            if not final and self.may_begin(text, at):
                return found, at
            length = self.measure(text, at)
            if length:
                end = at + length
                found.append((at, end))
        return found, len(text)

    def find_heads(self, text: bytes) -> Iterator[int]:
        """Yield where a head starts."""
        few = (heads for heads in (self.longs, self.shorts) if len(heads) <= FEW)
        for head in (head for heads in few for head in heads):
            at = text.find(head)
            while at >= 0:
                yield at
                at = text.find(head, at + 1)
        if len(self.longs) > FEW:
            yield from self.find_long_heads(text)
        if len(self.shorts) > FEW:
            yield from self.find_short_heads(text)

    def find_starts(self, text: bytes) -> list[int]:
        """Return where at the end of a text the start of a head may be."""
        end = range(max(len(text) - LONG_BYTES + 1, 0), len(text))
        return [at for at in end if text[at : at + SHORT_BYTES] in self.starts]

    def find_long_heads(self, text: bytes) -> Iterator[int]:
        """Yield where a long head starts, by its aligned block."""
        numbers = memoryview(text)[: len(text) // BLOCK_BYTES * BLOCK_BYTES].cast("Q")
        if self.blocks.isdisjoint(numbers):
            return
        for index, number in enumerate(numbers):
            for offset in self.offsets.get(number, ()):
                at = BLOCK_BYTES * index - offset
                if at >= 0 and text[at : at + LONG_BYTES] in self.tails:
                    yield at

    def find_short_heads(self, text: bytes) -> list[int]:
        """Return where a short head starts, by three of its bytes."""
        heads, places = self.tails, [2 * triple.start() for triple in self.triples.finditer(as_triples(text))]
        return [at for place in places for at in (place, place - 1) if text[at : at + SHORT_BYTES] in heads]

    def measure(self, text: bytes, at: int) -> int:
        """Return the length of the longest value at a place; 0 if there is none."""
        lengths = [n for size in (LONG_BYTES, SHORT_BYTES) for n in self.lengths.get(text[at : at + size], ())]
        room = len(text) - at
        return next((n for n in lengths if n <= room and text[at : at + n] in self.values), 0)

    def may_begin(self, text: bytes, at: int) -> bool:
        """Return whether the text from a place on is the start of a longer value."""
        if len(text) - at >= self.most_bytes:
            return False
        rest = text[at:]
        tails = (self.tails.get(rest[:size], []) for size in (LONG_BYTES, SHORT_BYTES))
        return any(starts_with(ordered, rest) for ordered in (self.heads, *tails))


def head_of(value: bytes) -> bytes:
    """Return the first bytes of a value, as many as its length allows."""
    return value[: LONG_BYTES if len(value) >= LONG_BYTES else SHORT_BYTES]


def compile_triples(heads: list[bytes]) -> re.Pattern[str]:
    """Return an expression for the triple of each of these heads that starts at an even place."""
    if not heads:
        return re.compile("(?!)")
    triples = one_of({as_triples(head[at : at + TRIPLE_BYTES])[0] for head in heads for at in (0, 1)})
    ends = {ord(as_triples(head[2:])) for head in heads}
    starts = {ord(as_triples(b"\0" + head[:2])[0]) for head in heads}
    after = one_of({chr(end | other << 2 * BITS) for end in ends for other in range(1 << BITS)})
    before = one_of({chr(start | other) for start in starts for other in range(1 << BITS)})
    return re.compile(f"{triples}(?:(?={after})|(?<={before}.))", re.DOTALL)


def one_of(characters: set[str]) -> str:
    """Return an expression for any of these characters."""
    return f"[{re.escape(''.join(characters))}]"


def as_triples(text: bytes) -> str:
    """Return a character for each even place, of five bits of each of the three bytes from there on."""
    size = len(text) + len(text) % 2
    number = int.from_bytes(text, "little")
    first, second, third = masks(size.bit_length())
    packed = number & first | number >> 3 & second | number >> 6 & third
    return packed.to_bytes(size, "little").decode("utf-16-le")


@lru_cache(maxsize=None)
def masks(size_bits: int) -> tuple[int, int, int]:
    """Return which bits of a character the three bytes of each triple hold, for sizes of so many bits."""
    first = int.from_bytes(b"\x1f\0" * (1 << size_bits >> 1), "little")
    return first, first << BITS, first << 2 * BITS


def starts_with(ordered: list[bytes], start: bytes) -> bool:
    """Return whether any of these strings, which are in order, is longer than `start` and starts with it."""
    at = bisect_right(ordered, start)
    return at < len(ordered) and ordered[at].startswith(start)
