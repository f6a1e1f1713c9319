"""Parity, XOR of many bits: two layers suffice, but grow with the bits; deeper ones stay small.

The networks are built, not trained, so that their sizes are certain; each is run on every input.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layers:
    """A network of ReLU layers, and a linear layer last: weights (outputs, inputs) and biases (outputs,)."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __call__(self, bits: Tensor) -> Tensor:
        """Return the answer for each row of bits (N, n): (N,)."""
        found = bits.double()
        for at, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            found = found @ weight.T + bias
            found = found if at == len(self.weights) - 1 else found.relu()
        return found[:, 0]

    @property
    def units(self) -> int:
        """Return the number of hidden units."""
        return sum(len(weight) for weight in self.weights[:-1])

    @property
    def depth(self) -> int:
        """Return the number of hidden layers."""
        return len(self.weights) - 1


def every_input(bits: int) -> Tensor:
    """Return all rows of so many bits (2^n, n)."""
    return (torch.arange(2**bits)[:, None] >> torch.arange(bits)) & 1


def parity(rows: Tensor) -> Tensor:
    """Return 1 for each row with an odd number of ones, else 0."""
    return rows.sum(dim=1) % 2


def memorize(bits: int) -> Layers:
    """Return one hidden layer with a unit for each odd input: 2^(n-1) units."""
    odd = every_input(bits)
    odd = odd[parity(odd) == 1].double()
    first = odd * 2 - 1  # exactly one unit answers 1, at its own input; all others are at 0 or below
    return Layers((first, torch.ones(1, len(odd)).double()), (1 - odd.sum(dim=1), torch.zeros(1).double()))


def count_up(bits: int) -> Layers:
    """Return one hidden layer that bends at each count of ones, up and down: n units."""
    bends = torch.arange(bits).double()
    slopes = 2 * (-1.0) ** bends
    slopes[0] = 1
    return Layers((torch.ones(bits, bits).double(), slopes[None]), (-bends, torch.zeros(1).double()))


def fold(bits: int) -> Layers:
    """Return layers of two units that each fold the count of ones in half: 2 log2(n) units."""
    folds = max(1, (bits - 1).bit_length())
    incoming = torch.ones(2, bits).double()  # both units see the count of ones
    weights, biases = [], []
    for at in reversed(range(folds)):
        weights.append(incoming)
        biases.append(torch.tensor([0.0, -(2.0**at)]).double())
        incoming = torch.tensor([[1.0, -2.0], [1.0, -2.0]]).double()  # what is above the crease is laid onto the rest
    return Layers((*weights, incoming[:1]), (*biases, torch.zeros(1).double()))


def check(network: Layers, bits: int) -> bool:
    """Return whether a network computes parity exactly, on every input.

    If it gives all bits the same weight, it sees only their sum, and one input for each sum stands for all with it.
    """
    first = network.weights[0]
    same = bool((first == first[:, :1]).all())
    rows = (torch.arange(bits) < torch.arange(bits + 1)[:, None]).long() if same else every_input(bits)
    return bool((network(rows) == parity(rows)).all())


MEMORIZED = 12
"""The most bits for which all odd inputs are memorized: each bit doubles the time that a check takes, twice."""
KINDS = {
    "one hidden layer, a unit for each odd input": memorize,
    "one hidden layer, a unit for each count": count_up,
    "deep, each layer folds the count in half": fold,
}
