"""Random numbers that are counted instead of drawn in turn.

Each is a hash of the seed, the place of its image in the whole training, and its purpose. So a resumed run and each of
several processes get the numbers of one that was never interrupted, on any device. They are made there, for many steps
at once: sent over step by step, they kept a GPU waiting that trains a small network.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

PURPOSES = {
    **{"shift": 2, "mirror": 1, "side": 1, "place": 2, "area": 1, "shape": 1, "corner": 2},
    **{"share": 2, "turn": 1, "tilt": 2, "light": 2, "which": 1, "strength": 1, "sign": 1},
    **{"first": 2, "second": 2},  # new ones last: the others keep their numbers
}
"""What an image needs numbers for, and how many."""
AHEAD = 64
"""Steps whose numbers are made at once."""
BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step: for each image of this process, and for the step as a whole."""

    numbers: Mapping[str, Tensor]
    """In [0, 1), for each purpose: (N, how many)."""
    step: random.Random


def draws(seed: int, steps: range, batch: int, device: torch.device, rank: int = 0, world: int = 1) -> Iterator[Draws]:
    """Yield the random numbers of these steps of `batch` images, for the process `rank` of `world`."""
    keys = torch.tensor([derive_keys(seed, column) for column in range(sum(PURPOSES.values()))], device=device)
    for start in range(steps.start, steps.stop, AHEAD):
        some = range(start, min(start + AHEAD, steps.stop))
        places = torch.arange(some.start * batch, some.stop * batch, device=device)
        numbers = uniform(places.view(len(some), world, batch // world)[:, rank], keys)
        for step, each in zip(some, numbers.unbind(), strict=True):
            columns = each.split(list(PURPOSES.values()), dim=1)
            chance = random.Random(f"{seed} {step}")  # noqa: S311  it protects nothing
            yield Draws(dict(zip(PURPOSES, columns, strict=True)), chance)


def derive_keys(seed: int, column: int) -> tuple[int, int]:
    """Return two numbers of 32 bits."""
    found = hashlib.blake2b(f"{seed} {column}".encode(), digest_size=8).digest()
    return int.from_bytes(found[:4], "little"), int.from_bytes(found[4:], "little")


def uniform(places: Tensor, keys: Tensor) -> Tensor:
    """Return a number in [0, 1) for each place and each pair of keys: (..., keys)."""
    mixed = scramble(scramble((places[..., None] & BITS) ^ keys[:, 0]) ^ keys[:, 1])
    return (mixed >> 8).float() * 2**-24


def scramble(bits: Tensor) -> Tensor:
    """Return 32 bits, each of which depends on all 32 given: Mueller's hash, which fits into an int64."""
    for _ in range(2):
        bits = ((bits ^ (bits >> 16)) * 0x45D9F3B) & BITS
    return bits ^ (bits >> 16)
