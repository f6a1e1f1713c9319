"""The plan and the state of a training run, saved and restored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..config.recipe import Recipe, option
from ..data import Dataset
from ..errors import CheckpointError
from ..images.decoding import Files
from ..models import Classifier
from ..models.weights import fill
from ..optim.optimizers import Average, LayerGroup, make_optimizers
from ..optim.precision import Execution
from ..optim.schedule import Clock, progress
from .checkpoint import Checkpoints
from .distributed import DistributedContext
from .stop import Stop

FREE = {"epochs", "time_budget_s", "early_stop", "tta", "accumulate", "clip", "runtime", "compile"}
"""Options that may change on resume. Another seed, by contrast, would mix training and held-out images."""


@dataclass(frozen=True)
class Plan:
    """The constants of a training run."""

    data: Dataset
    recipe: Recipe
    context: DistributedContext
    groups: Sequence[LayerGroup] = ()
    """The layers to train; if empty, all weights at the recipe's rate."""
    store: Checkpoints | None = None
    resume: Path | None = None
    """The checkpoint to resume from."""
    stop: Stop = field(default_factory=Stop)
    execution: Execution | None = None
    """Number type, memory layout and runtime, if they are chosen already."""

    @property
    def batch(self) -> int:
        """Images per step, over all processes."""
        return min(self.recipe.batch_size, len(self.data.train)) // self.context.world * self.context.world

    @property
    def steps(self) -> int:
        """Steps per epoch; an incomplete last batch is dropped."""
        return len(self.data.train) // self.batch

    @cached_property
    def class_weights(self) -> Tensor | None:
        """The weight of each class in the loss, if rare ones weigh more."""
        if not self.recipe.class_weights:
            return None
        return self.data.task.weigh(self.data.train.labels, len(self.data.classes)).to(self.context.device)

    @property
    def graph_obstacle(self) -> str:
        """Why CUDA graphs, which hold one process's batches of one shape, do not fit; or ""."""
        reasons = {
            "the device is not a GPU": self.context.device.type != "cuda",
            "several processes share the work": self.context.world > 1,
            "gradients are accumulated": self.recipe.accumulate > 1,
            "the image size changes": self.recipe.progressive > 0,
            "images are decoded during training": isinstance(self.data.train.images, Files),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def progress(self, run: "Run") -> float:
        """Return the run's progress from 0 to 1, the same in all processes."""
        steps = self.steps * self.recipe.most_epochs
        return self.context.agree(progress(self.recipe, run.step, steps, run.clock.read()))

    def is_over(self, run: "Run") -> bool:
        """Return whether a run has used its steps or time, or stopped improving."""
        return self.progress(run) >= 1 or is_stagnant(run.history, self.recipe.early_stop)


@dataclass
class Run:
    """The state of a training run, as saved in a checkpoint."""

    model: Classifier
    optimizers: tuple[Optimizer, ...]
    execution: Execution
    scaler: torch.amp.GradScaler
    average: Average | None
    losses: Tensor
    """For each step of this epoch."""
    step: int = 0
    clock: Clock = field(default_factory=Clock)
    epoch_s: float = 0.0
    """Seconds spent in this epoch before resuming."""
    history: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    saved_s: float = 0.0
    """When the last checkpoint was written, or training began, by the monotonic clock."""

    @property
    def result(self) -> Classifier:
        """The network to evaluate and keep: the moving average if there is one."""
        return self.average.module if self.average else self.model  # type: ignore[return-value]

    def save(self, plan: Plan, epoch_s: float) -> None:
        """Write a checkpoint, if the plan has a place for it; raises CheckpointError."""
        if plan.store is None:
            return
        state = {
            "step": self.step,
            "recipe": asdict(plan.recipe),
            "data": plan.data.identity,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "losses": self.losses,
            "spent_s": self.clock.read(),
            "epoch_s": epoch_s,
            "history": self.history,
            "ended": self.ended,
            "execution": asdict(self.execution),
        }
        plan.store.save(self.step, self.model.state_dict(), state)

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any], plan: Plan) -> None:
        """Resume from a checkpoint. Raises CheckpointError if it does not fit the data, network or recipe."""
        recipe = plan.recipe
        compare_recipes(state["recipe"], {"seed": recipe.seed})  # which also decides what is held out
        compare_data(state["data"], plan.data.identity)
        compare_networks(weights, self.model.state_dict())  # whose default rates differ
        compare_recipes(state["recipe"], asdict(recipe))
        try:
            fill(self.model, weights)
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.scaler.load_state_dict(state["scaler"])
            if self.average:
                self.average.load_state_dict(state["average"])
            self.losses.copy_(state["losses"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the network or recipe: {str(error).splitlines()[0]}"
            ) from error
        self.step, self.history, self.ended = state["step"], state["history"], state["ended"]
        self.clock, self.epoch_s = Clock(state["spent_s"]), state["epoch_s"]


def compare_recipes(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise CheckpointError if a checkpoint was made with other options that must not change."""
    for name, value in wanted.items():
        if name not in FREE and made.get(name, value) != value:
            raise CheckpointError(f"the checkpoint was made with {option(name)} {made[name]}, not {value}")


def compare_data(made: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise CheckpointError for a checkpoint of another task, other classes or training images."""
    if made.get("task", wanted["task"]) != wanted["task"]:
        raise CheckpointError(f"the checkpoint was made for {made['task']}, not for {wanted['task']}")
    if made["classes"] != wanted["classes"]:
        pairs = zip_longest(made["classes"], wanted["classes"], fillvalue="none")
        at, (old, new) = next((at, pair) for at, pair in enumerate(pairs) if pair[0] != pair[1])
        raise CheckpointError(
            f"the checkpoint was made with other classes: number {at} was '{old}', now it is '{new}'; "
            "train without --resume, or start from its model with --weights"
        )
    if made.get("square", wanted["square"]) != wanted["square"]:
        raise CheckpointError(f"the checkpoint was made with --resize {made['square'][0]}, not {wanted['square'][0]}")
    if made["digest"] != wanted["digest"]:
        counts = f"{made['images']:,} then, {wanted['images']:,} now"
        raise CheckpointError(
            f"the training images or their classes have changed since the checkpoint ({counts}); "
            "train without --resume, or start from its model with --weights"
        )


def compare_networks(made: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError, with the first layer that differs, if a checkpoint is of another network."""
    for name in (*wanted, *made):
        there, here = ("not in it" if name not in of else str(tuple(of[name].shape)) for of in (made, wanted))
        if there != here:
            raise CheckpointError(
                f"the checkpoint is of another network: '{name}' is {there}, here {here.replace('not in it', 'missing')}; "
                "resume with its --model, or train without --resume"
            )


def begin(model: Classifier, groups: Sequence[LayerGroup], recipe: Recipe, execution: Execution, steps: int) -> Run:
    """Return a new run; an epoch has this many `steps`."""
    device = model.mean.device
    return Run(
        model,
        make_optimizers(groups, recipe),
        execution,
        torch.amp.GradScaler(device.type, enabled=execution.dtype == torch.float16),
        Average(model, recipe.ema) if recipe.ema else None,
        torch.zeros(steps, device=device),
    )


def is_stagnant(history: Sequence[dict[str, Any]], epochs: int) -> bool:
    """Return whether none of the last `epochs` epochs improved on the best before them."""
    scores = [entry["score"] for entry in history]
    return 0 < epochs < len(scores) and max(scores[-epochs:]) <= max(scores[:-epochs])
