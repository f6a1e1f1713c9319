"""One hidden layer, trained by gradient descent: it solves XOR, the more surely the wider it is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

STEPS, RATE = 500, 0.05


@dataclass(frozen=True)
class Networks:
    """Several networks with one hidden layer of ReLUs, side by side: (count, inputs, hidden) and so on."""

    first: Tensor
    bias: Tensor
    last: Tensor
    offset: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Return the score of each point (N, inputs) by each network: (count, N)."""
        hidden = torch.relu(points @ self.first + self.bias)
        scores: Tensor = (hidden @ self.last + self.offset)[..., 0]
        return scores

    def pick(self, index: int) -> "Networks":
        """Return one of them, as one network."""
        return Networks(*(each[index : index + 1] for each in self.__dict__.values()))

    def right(self, points: Tensor, signs: Tensor) -> int:
        """Return how many points the first network classifies correctly."""
        return int((self(points)[0] * signs > 0).sum())

    def detach(self) -> "Networks":
        """Return a copy that later steps leave alone."""
        return Networks(*(each.detach().clone() for each in self.__dict__.values()))


def start(width: int, count: int, seed: int) -> Networks:
    """Return networks for two inputs with random weights."""
    draw = torch.Generator().manual_seed(seed)
    shapes, fans = ((2, width), (1, width), (width, 1), (1, 1)), (2, 2, width, width)
    drawn = [
        torch.stack([torch.rand(shape, generator=draw, dtype=torch.float64) * 2 - 1 for _ in range(count)])
        for shape in shapes
    ]
    return Networks(*((each / math.sqrt(fan)).requires_grad_() for each, fan in zip(drawn, fans, strict=True)))


def train(points: Tensor, signs: Tensor, nets: Networks, every: int = STEPS) -> list[Networks]:
    """Train by gradient descent (Adam); return the networks before it and after `every` so many steps."""
    optimizer = torch.optim.Adam(list(nets.__dict__.values()), RATE)
    path = [nets.detach()]
    for step in range(1, STEPS + 1):
        loss = softplus(-signs * nets(points)).mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0:
            path.append(nets.detach())
    return path


def solved(points: Tensor, signs: Tensor, nets: Networks) -> Tensor:
    """Return which of the networks classify every point correctly (count,)."""
    return (nets(points) * signs > 0).all(dim=1)
