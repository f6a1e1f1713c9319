"""The perceptron: Rosenblatt's rule, its limit, and one hidden layer that overcomes it.

`python -m jobs.perceptron` writes perceptron.png. Rosenblatt's rule (1958) adds an example to the weights if it is
misclassified. Novikoff (1962) proved that on linearly separable points it makes at most (R / margin)^2 mistakes.
Minsky and Papert (1969) showed that XOR is not linearly separable.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .program import Parser, check_folder, default_out, number, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

EPOCHS = 1000


@dataclass(frozen=True)
class Learned:
    """The result of the learning rule."""

    weights: "Tensor"
    """One per coordinate, and the bias last."""
    mistakes: int
    """Number of mistakes, each followed by a correction."""
    converged: bool
    """Whether a whole pass made no mistake."""


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the picture."""
    parser = Parser("jobs.perceptron", description="Rosenblatt's perceptron rule, its limit, and one hidden layer.")
    parser.add_argument(
        "--out", type=Path, default=default_out(), metavar="DIR", help="folder for perceptron.png (%(default)s)"
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="random seed for the points (%(default)s)")
    asked = parser.parse_args(argv)
    return run_program("jobs.perceptron", lambda: run(asked.out, asked.seed))


def run(out: Path, seed: int) -> Path:
    """Run and plot the three experiments."""
    check_folder(out)
    points, signs, margin = separable(seed)
    learned = learn(points, signs)
    bound = mistake_bound(points, margin)
    say(f"separable: converged after {learned.mistakes} mistakes (bound {bound:.0f})")
    x, y = exclusive_or()
    stuck = learn(x, y)
    said = "converged" if stuck.converged else "no convergence"
    say(f"XOR: {said} after {EPOCHS} passes and {stuck.mistakes} mistakes; {right(stuck.weights, x, y)} of 4 correct")
    beyond = hidden_layer(x, y, seed)
    say(f"XOR, one hidden layer: {int((beyond(x).sign() == y).sum())} of 4 correct")
    acts = [
        ("separable", points, signs, lambda p: with_bias(p) @ learned.weights),
        ("XOR: no line separates it", x, y, lambda p: with_bias(p) @ stuck.weights),
        ("XOR: one hidden layer", x, y, beyond),
    ]
    draw(out / "perceptron.png", acts)
    say(str(out / "perceptron.png"))
    return out / "perceptron.png"


def separable(seed: int, count: int = 100, margin: float = 0.1) -> "tuple[Tensor, Tensor, float]":
    """Return points in the plane (N, 2), their side of a random line (N,), and the margin."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    normal = torch.randn(3, generator=draw, dtype=torch.float64)
    normal[2] *= 0.3  # near the middle, so that both sides have points
    normal /= normal.norm()
    points = torch.rand(50 * count, 2, generator=draw, dtype=torch.float64) * 4 - 2
    distance = with_bias(points) @ normal
    kept = (distance.abs() >= margin).nonzero().flatten()[:count]
    return points[kept], distance[kept].sign(), margin


def exclusive_or() -> "tuple[Tensor, Tensor]":
    """Return the four points of XOR and their signs: plus where exactly one coordinate is 1."""
    import torch

    return torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64), torch.tensor([-1.0, 1, 1, -1]).double()


def with_bias(points: "Tensor") -> "Tensor":
    """Append a coordinate of 1, whose weight is the bias."""
    import torch

    return torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], dim=1)


def learn(points: "Tensor", signs: "Tensor", epochs: int = EPOCHS) -> Learned:
    """Apply Rosenblatt's rule point by point until a pass makes no mistake, at most `epochs` passes."""
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
    """Return Novikoff's bound on the mistakes: (R / margin)^2, with R the longest point including bias."""
    longest: float = with_bias(points).norm(dim=1).max().item()
    return (longest / margin) ** 2


def right(weights: "Tensor", points: "Tensor", signs: "Tensor") -> int:
    """Return how many points the weights classify correctly."""
    return int(((with_bias(points) @ weights) * signs > 0).sum())


def hidden_layer(points: "Tensor", signs: "Tensor", seed: int) -> "Callable[[Tensor], Tensor]":
    """Return a network with one hidden layer, trained by gradient descent."""
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
    """Plot the points of each experiment over the learned regions."""
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
