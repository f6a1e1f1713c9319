"""Transfer learning: `python -m jobs.finetune --data pets --model resnet34 --pretrained --epochs 1`.

Trains the new last layer with the body frozen, then everything, earlier layers at lower rates, like fastai's `fine_tune`
(https://docs.fast.ai/callback.schedule.html#learner.fine_tune). The body's norms keep the statistics of the large data
set they were trained on, which a few batches of a small one cannot replace, unless --train-norms is given.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .config.recipe import Recipe
from .config.settings import Settings, parse
from .program import keep_memory, number, run_program, say

if TYPE_CHECKING:
    from .models import Classifier
    from .optim.optimizers import LayerGroup
    from .training.state import Plan

DEFAULTS = Recipe(epochs=3, batch_size=32, flip=True)
SPREAD = 100.0
"""The first layers' learning rate is the last layer's divided by this."""


def main(argv: Sequence[str] | None = None) -> float:
    """Run the program, return the test accuracy; user errors print one line and exit with status 1 or 2."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument(
        "--head-only", action="store_true", help="train only the last layer: takes seconds, and is often enough"
    )
    own.add_argument(
        "--freeze-epochs",
        type=number(int, 0),
        default=0,
        metavar="N",
        help="epochs in which only the last layer is trained, on augmented images (default: on features computed once)",
    )
    own.add_argument("--train-norms", action="store_true", help="also train the body's normalization layers")
    settings, extra = parse(argv, "jobs.finetune", "Fine-tune pretrained weights on your images.", DEFAULTS, own)
    keep_memory()

    return run_program(
        "jobs.finetune", lambda: run(settings, extra.head_only, extra.train_norms, int(extra.freeze_epochs))
    )


def run(settings: Settings, head_only: bool, train_norms: bool, freeze_epochs: int = 0) -> float:
    """Train the last layer, then all unless `head_only`; return the test accuracy, or the mean of folds.

    Raises JobsError.
    """
    from .folds import train_folds
    from .training.pipeline import train

    def choose_layers(model: "Classifier") -> "Sequence[LayerGroup]":
        return () if head_only else group_layers(model, settings.recipe.peak_lr, train_norms)

    def train_one(settings: Settings) -> float:
        return train(
            settings, choose_layers, partial(train_frozen, freeze_epochs) if freeze_epochs else train_on_features
        )

    return train_folds(settings, train_one) if settings.has_folds else train_one(settings)


def train_on_features(model: "Classifier", plan: "Plan") -> None:
    """Train only the last layer, in seconds. Raises CheckpointError for a checkpoint of --freeze-epochs."""
    from .errors import CheckpointError
    from .training.checkpoint import OF_HEAD
    from .training.head import train_head

    if plan.resume:
        raise CheckpointError(f"{plan.resume}: {OF_HEAD}")
    train_head(model, plan.data, plan.context, plan.recipe)


def train_frozen(epochs: int, model: "Classifier", plan: "Plan") -> None:
    """Train only the last layer for some epochs, like the first part of fastai's fine_tune.

    Its checkpoints are of a phase of their own, from which a run resumes. Raises Stopped.
    """
    from .models.classifier import find_head
    from .optim.optimizers import LayerGroup
    from .training.checkpoint import HEAD
    from .training.fit import fit
    from .training.pipeline import describe, freeze_others

    groups = [LayerGroup([find_head(model)], plan.recipe.peak_lr)]
    freeze_others(model, groups)
    recipe = replace(plan.recipe, epochs=epochs, time_budget_s=0.0, early_stop=0, ema=0.0)
    store = replace(plan.store, phase=HEAD) if plan.store else None
    for metrics, _ in fit(model, replace(plan, recipe=recipe, groups=groups, store=store)):
        say(f"last layer: {describe(metrics, recipe)}")


def group_layers(model: "Classifier", lr: float, train_norms: bool = False) -> "Sequence[LayerGroup]":
    """Return the two halves of the body and the last layer, each with its peak learning rate."""
    from torch import nn

    from .models import count_parameters
    from .models.classifier import find_head
    from .optim.optimizers import LayerGroup

    head = find_head(model)
    leaves = [m for m in model.net.modules() if m is not head and list(m.parameters(recurse=False))]
    if not train_norms:
        leaves = [m for m in leaves if not isinstance(m, nn.modules.batchnorm._BatchNorm)]
    half, seen, cut = sum(map(count_parameters, leaves)) / 2, 0, 0
    while cut < len(leaves) and seen < half:
        seen, cut = seen + count_parameters(leaves[cut]), cut + 1
    groups: list[list[nn.Module]] = [leaves[:cut], leaves[cut:], [head]]
    rates = (lr / SPREAD, lr / SPREAD**0.5, lr)
    return [LayerGroup(group, rate) for group, rate in zip(groups, rates, strict=True) if group]


if __name__ == "__main__":
    main()
