"""The pictures of the four acts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..look.plots import BLUE, GREY, INK, ORANGE, figure
from .exclusive_or import exclusive_or
from .hidden import Networks
from .problems import Problem
from .rule import margin, right, widest, with_bias

Ask = Callable[[Tensor], Tensor]


def line_of(weights: Tensor) -> Ask:
    """Return a function that scores points by weights."""
    return lambda points: with_bias(points) @ weights


def draw_side(axis: Any, points: Tensor, signs: Tensor, ask: Ask, title: str) -> None:
    """Draw points and the side that each region is on; what is on neither side stays white."""
    low, high = points.amin(dim=0), points.amax(dim=0)
    room = 0.2 * (high - low)
    across, up = (torch.linspace(*ends, 150).double() for ends in zip(low - room, high + room, strict=True))
    sides = ask(torch.cartesian_prod(across, up)).sign().view(150, 150).T
    axis.contourf(
        across.numpy(),
        up.numpy(),
        sides.numpy(),
        levels=[-2, -0.5, 0.5, 2],
        colors=[ORANGE, "#ffffff", BLUE],
        alpha=0.25,
    )
    for sign, colour in ((-1, ORANGE), (1, BLUE)):
        axis.scatter(*points[signs == sign].T.numpy(), color=colour, edgecolor="white", s=40)
    axis.set_title(title, fontsize=10)


def draw_rule(path: Path, problem: Problem, weights: Tensor, measured: Sequence[tuple[str, int, float]]) -> None:
    """Draw the line that was learned and the widest one, and mistakes over Novikoff's bound."""
    with figure(path, 1, 2, (9.2, 4.0)) as (plane, bounds):
        draw_side(plane, problem.points, problem.signs, line_of(weights), f"{problem.name}: {measured[0][1]} mistakes")
        best = widest(problem.points, problem.signs)
        across = torch.stack([problem.points[:, 0].min() - 0.3, problem.points[:, 0].max() + 0.3])
        gap = margin(best, problem.points, problem.signs)
        limits_y = plane.get_ylim()
        for at, style, label in ((0.0, "-", "the widest line"), (gap, ":", f"its margin, {gap:.2f}"), (-gap, ":", "")):
            plane.plot(across, -(best[0] * across + best[2] + at) / best[1], style, color=INK, linewidth=1, label=label)
        plane.set_ylim(limits_y)
        plane.legend(loc="lower right", fontsize=8)
        plane.set_xlabel(f"{problem.axes[0]}, cm from the mean")
        plane.set_ylabel(f"{problem.axes[1]}, cm from the mean")
        limits = (1, max(bound for *_, bound in measured) * 3)
        bounds.plot(limits, limits, color=GREY, linestyle="--", label="mistakes = bound")
        for name, mistakes, bound in measured:
            bounds.plot(bound, mistakes, "o", color=BLUE)
            bounds.annotate(name, (bound, mistakes), (6, -10), textcoords="offset points", fontsize=8)
        bounds.set(xscale="log", yscale="log", xlim=(5, limits[1] * 4), ylim=(1, limits[1]))
        bounds.set_xlabel("Novikoff's bound: (R / margin)²")
        bounds.set_ylabel("mistakes of Rosenblatt's rule")
        bounds.legend(loc="upper left", fontsize=8)


def draw_exclusive_or(path: Path, cycle: Sequence[Tensor], best: Tensor, net: Networks) -> None:
    """Draw the lines of the cycle, the best line, and what a hidden layer makes of XOR."""
    points, signs = exclusive_or()
    with figure(path, 2, 3, (9.2, 6.4)) as axes:
        flat = list(axes.flat)
        for at, (axis, weights) in enumerate(zip(flat, cycle, strict=False), 1):
            score = f"correction {at} of {len(cycle)}: {right(weights, points, signs)} of 4"
            draw_side(axis, points, signs, line_of(weights), score)
            axis.set_xlabel(write_rule(weights), fontsize=9)
        draw_side(flat[-2], points, signs, line_of(best), f"the best line: {right(best, points, signs)} of 4")
        flat[-2].set_xlabel(write_rule(best), fontsize=9)
        draw_side(
            flat[-1], points, signs, lambda some: net(some)[0], f"one hidden layer: {net.right(points, signs)} of 4"
        )
        flat[-1].set_xlabel(f"{net.first.shape[2]} ReLUs, gradient descent", fontsize=9)


def write_rule(weights: Tensor) -> str:
    """Return a line as what is plus: "blue where x + y + 1 > 0"; a constant if no coordinate counts."""
    x, y, bias = weights.tolist()
    if x == y == 0:
        return {-1: "orange everywhere", 0: "no line: all weights are 0", 1: "blue everywhere"}[int(weights[2].sign())]
    terms = [f"{'-' if w < 0 else '+'} {'' if abs(w) == 1 else f'{abs(w):g}'}{n}" for n, w in (("x", x), ("y", y)) if w]
    text = " ".join([*terms, *([f"{'-' if bias < 0 else '+'} {abs(bias):g}"] if bias else [])])
    return f"blue where {text.removeprefix('+ ')} > 0"


def draw_parity(path: Path, sizes: dict[str, dict[int, int]]) -> None:
    """Draw how many hidden units each kind of network needs, by the number of bits."""
    with figure(path, size=(6.8, 4.2)) as axis:
        for (name, units), colour in zip(sizes.items(), (ORANGE, BLUE, INK), strict=True):
            axis.plot(list(units), list(units.values()), "o-", color=colour, label=name, markersize=4)
            bits, most = list(units.items())[-1]
            axis.annotate(f"{most:,}", (bits, most), (6, -3), textcoords="offset points", fontsize=9)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.set_xlim(1.7, 2200)
        axis.set_xlabel("bits")
        axis.set_ylabel("hidden units of a network for their parity")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))
