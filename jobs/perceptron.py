"""Where it began: Rosenblatt's Mark I learns, meets its limit, and one hidden layer goes beyond it.

`python -m jobs.perceptron` draws perceptron.png. Rosenblatt's rule (1958) adds an example to the weights when they are
wrong about it and leaves them alone otherwise. Novikoff (1962) proved that on points which a plane can tell apart it errs
at most (R / margin)^2 times. Minsky and Papert (1969) showed what no plane can tell apart: exclusive or.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .program import Parser, default_out, number, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

EPOCHS = 1000


@dataclass(frozen=True)
class Learned:
    """What the rule came to."""

    weights: "Tensor"
    """One for each coordinate, and the bias last."""
    mistakes: int
    """Made in all, each followed by a correction."""
    converged: bool
    """Whether a whole pass went by without one."""


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the picture."""
    parser = Parser("jobs.perceptron", description="Rosenblatt's rule, its limit, and one hidden layer beyond it.")
    parser.add_argument(
        "--out", type=Path, default=default_out(), metavar="DIR", help="for perceptron.png (%(default)s)"
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="decides the points (%(default)s)")
    asked = parser.parse_args(argv)
    return run_program("jobs.perceptron", lambda: run(asked.out, asked.seed))


def run(out: Path, seed: int) -> Path:
    """Show the three acts, draw them."""
    points, signs, margin = separable(seed)
    learned = learn(points, signs)
    bound = mistake_bound(points, margin)
    say(f"a separable problem: converged after {learned.mistakes} mistakes; the bound is {bound:.0f}")
    x, y = exclusive_or()
    stuck = learn(x, y)
    said = "converged" if stuck.converged else "no end"
    say(
        f"exclusive or: {said} after {EPOCHS} passes and {stuck.mistakes} mistakes; right on {right(stuck.weights, x, y)} of 4"
    )
    beyond = hidden_layer(x, y, seed)
    say(f"one hidden layer: right on {int((beyond(x).sign() == y).sum())} of 4")
    acts = [
        ("separable: a line is found", points, signs, lambda p: with_bias(p) @ learned.weights),
        ("exclusive or: no line", x, y, lambda p: with_bias(p) @ stuck.weights),
        ("one hidden layer", x, y, beyond),
    ]
    draw(out / "perceptron.png", acts)
    say(str(out / "perceptron.png"))
    return out / "perceptron.png"


def separable(seed: int, count: int = 100, margin: float = 0.1) -> "tuple[Tensor, Tensor, float]":
    """Return points in the plane (N, 2), their side of a random line (N,), and the least distance to it."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    normal = torch.randn(3, generator=draw, dtype=torch.float64)
    normal[2] *= 0.3  # near the middle, so that there are points on both sides
    normal /= normal.norm()
    points = torch.rand(50 * count, 2, generator=draw, dtype=torch.float64) * 4 - 2
    distance = with_bias(points) @ normal
    kept = (distance.abs() >= margin).nonzero().flatten()[:count]
    return points[kept], distance[kept].sign(), margin


def exclusive_or() -> "tuple[Tensor, Tensor]":
    """Return the four points and their signs: plus where one coordinate alone is 1."""
    import torch

    return torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64), torch.tensor([-1.0, 1, 1, -1]).double()


def with_bias(points: "Tensor") -> "Tensor":
    """Return points with a coordinate more that is always 1, whose weight is the bias."""
    import torch

    return torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], dim=1)


def learn(points: "Tensor", signs: "Tensor", epochs: int = EPOCHS) -> Learned:
    """Apply Rosenblatt's rule point by point until a pass makes no mistake, for at most `epochs` passes."""
    import torch

    inputs, weights, mistakes = with_bias(points), torch.zeros(points.shape[1] + 1, dtype=points.dtype), 0
    for _ in range(epochs):
        before = mistakes
        for point, sign in zip(inputs, signs, strict=True):
            if sign * (weights @ point) <= 0:
                weights = weights + sign * point
                mistakes += 1
        if mistakes == before:
            return Learned(weights, mistakes, converged=True)
    return Learned(weights, mistakes, converged=False)


def mistake_bound(points: "Tensor", margin: float) -> float:
    """Return Novikoff's bound on the mistakes: (R / margin)^2, R being the longest point with its bias."""
    longest: float = with_bias(points).norm(dim=1).max().item()
    return (longest / margin) ** 2


def right(weights: "Tensor", points: "Tensor", signs: "Tensor") -> int:
    """Return how many points the weights put on their side."""
    return int(((with_bias(points) @ weights) * signs > 0).sum())


def hidden_layer(points: "Tensor", signs: "Tensor", seed: int) -> "Callable[[Tensor], Tensor]":
    """Return a network with one hidden layer, trained by gradient descent: what the rule alone could not."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(500):
        loss = nn.functional.softplus(-signs * net(points).flatten()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda some: net(some).flatten().detach()


def draw(path: Path, acts: "Sequence[tuple[str, Tensor, Tensor, Callable[[Tensor], Tensor]]]") -> None:
    """Draw the points of each act over the two sides that were learned."""
    import torch

    from .look.plots import BLUE, ORANGE, figure

    with figure(path, 1, len(acts), (3.2 * len(acts), 3.2)) as axes:
        for axis, (title, points, signs, ask) in zip(axes, acts, strict=True):
            low, high = points.min().item() - 0.3, points.max().item() + 0.3
            line = torch.linspace(low, high, 120, dtype=torch.float64)
            grid = torch.cartesian_prod(line, line)
            sides = ask(grid).sign().view(120, 120).T
            axis.contourf(
                line.numpy(), line.numpy(), sides.numpy(), levels=[-2, 0, 2], colors=[ORANGE, BLUE], alpha=0.25
            )
            for sign, colour in ((-1, ORANGE), (1, BLUE)):
                chosen = points[signs == sign]
                axis.scatter(*chosen.T.numpy(), color=colour, edgecolor="white", s=40)
            axis.set_title(title)
            axis.set_aspect("equal")


if __name__ == "__main__":
    main()
