"""What a task is: everything that differs between classes, several labels and numbers, in one value."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]
"""Of outputs, targets, weights of the classes or None, and label smoothing."""


def rule(**more: Any) -> Any:
    """Return a field that does not decide whether two tasks are equal: its name does."""
    return field(compare=False, repr=False, **more)


@dataclass(frozen=True)
class Task:
    """What is asked of each image; a network has as many outputs as there are classes."""

    name: str
    lead: str = rule()
    """The figure that training improves, and that a model file remembers."""
    output: str = rule()
    """What an exported model returns."""
    loss: Loss = rule()
    answer: Callable[[Tensor], Tensor] = rule()
    """From outputs (N, C) to what people read: probabilities, or numbers."""
    shares: Callable[[Tensor, int], Tensor] = rule()
    """Labels as numbers that can be mixed: (N, C)."""
    weigh: Callable[[Tensor, int], Tensor] = rule()
    """The weight of each class in the loss, if rare ones weigh more."""
    strata: Callable[[Tensor], Tensor] = rule()
    """A number for each image: a split has images of each on both sides."""
    keep: Callable[[Tensor, Tensor], Tensor] = rule()
    """What an evaluation keeps of a batch's outputs and labels: a row for each image, on their device."""
    measure: Callable[[Tensor], dict[str, float]] = rule()
    """The figures of all rows, the lead first."""
    word: Callable[[Tensor, Sequence[str]], str] = rule()
    """One image's label in words."""
    about: Callable[[Sequence[str]], str] = rule()
    """What is predicted, for a summary."""
    least: int = rule(default=2)
    """The fewest classes that it makes sense with."""
    sign: int = rule(default=1)
    """-1 if less of the lead is better."""
    centre: float = 0.0
    scale: float = 1.0
    """Of a number to predict: outputs count from `centre` in steps of `scale`."""

    @property
    def stored(self) -> dict[str, Any]:
        """Return what a model file says of it."""
        return {"task": self.name, "centre": self.centre, "scale": self.scale}

    def score(self, figures: Mapping[str, float]) -> float:
        """Return the lead so that more is better."""
        return self.sign * figures[self.lead]


def write_figures(figures: Mapping[str, float]) -> str:
    """Return figures in words: "mAP 0.8123  F1 0.7311"."""
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
