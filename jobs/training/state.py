"""A run as it stands, and how it is saved and taken up again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..config.recipe import Recipe, option
from ..errors import CheckpointError
from ..models import Classifier
from ..optim.optimizers import Average, make_optimizer
from ..optim.precision import Execution
from ..optim.schedule import Clock
from .checkpoint import Checkpoints

FREE = {"epochs", "time_budget_s", "early_stop", "tta", "accumulate", "clip", "compile"}
"""Knobs that may be others when a run goes on; another seed, say, would mix images to learn from with those to judge by."""


@dataclass
class Run:
    """What changes as training goes on, and what a checkpoint holds."""

    model: Classifier
    optimizer: Optimizer
    execution: Execution
    scaler: torch.amp.GradScaler
    average: Average | None
    losses: Tensor
    """Of each step of this epoch."""
    step: int = 0
    clock: Clock = field(default_factory=Clock)
    epoch_s: float = 0.0
    """Seconds spent in this epoch before it was resumed."""
    history: list[dict[str, float]] = field(default_factory=list)
    ended: bool = False

    @property
    def judged(self) -> Classifier:
        """The network that is judged and kept: the average's if there is one."""
        return self.average.model if self.average else self.model  # type: ignore[return-value]

    def save(self, store: Checkpoints, recipe: Recipe, epoch_s: float) -> None:
        """Write a checkpoint; raises CheckpointError."""
        state = {
            "step": self.step,
            "recipe": asdict(recipe),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "losses": self.losses,
            "spent_s": self.clock.read(),
            "epoch_s": epoch_s,
            "history": self.history,
            "ended": self.ended,
            "execution": asdict(self.execution),
        }
        store.save(self.step, self.model.state_dict(), state)

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any], recipe: Recipe) -> None:
        """Go on from a checkpoint; raises CheckpointError if it is one of another network or recipe."""
        try:
            self.model.load_state_dict(weights)
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average:
                self.average.model.load_state_dict(state["average"])
            self.losses.copy_(state["losses"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint is of another network or recipe: {str(error).splitlines()[0]}"
            ) from error
        for name, wished in asdict(recipe).items():
            made = state["recipe"].get(name, wished)
            if name not in FREE and made != wished:
                raise CheckpointError(f"the checkpoint was made with {option(name)} {made}, and this is {wished}")
        self.step, self.history, self.ended = state["step"], state["history"], state["ended"]
        self.clock, self.epoch_s = Clock(state["spent_s"]), state["epoch_s"]


def begin(
    model: Classifier,
    recipe: Recipe,
    execution: Execution,
    steps: int,
    layers: Sequence[Sequence[nn.Module]],
    peaks: Sequence[float],
) -> Run:
    """Return a run at its start."""
    device = model.mean.device
    scaler = torch.amp.GradScaler(device.type, enabled=execution.dtype == torch.float16)
    average = Average(model, recipe.ema) if recipe.ema else None
    return Run(
        model, make_optimizer(layers, peaks, recipe), execution, scaler, average, torch.zeros(steps, device=device)
    )
