"""The rungs of a comparison: models trained on the same data, right or wrong on each test image."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .config.recipe import Recipe, default_lr
from .data import Dataset
from .errors import DataError
from .finetune import group_layers
from .images.naming import load_function
from .models import Classifier, build, count_parameters
from .models.classifier import find_head
from .scores.intervals import Interval, paired_difference, wilson
from .training.closed_form import fit_closed_form
from .training.distributed import DistributedContext
from .training.evaluation import predict
from .training.fit import fit
from .training.head import train_head
from .training.pipeline import freeze_others
from .training.state import Plan


@dataclass(frozen=True)
class Rung:
    """One model in the comparison, over all seeds."""

    model: str
    right: Tensor
    """Whether the model of each seed is right on each test image: (seeds, N), 0 or 1."""
    seconds: float
    """Mean time of one training run."""
    parameters: int
    images_per_s: float = 0.0
    """Training images per second; 0 for what is not trained in steps."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The accuracy of each seed."""
        return tuple(self.right.mean(dim=1).tolist())

    @property
    def interval(self) -> Interval:
        """The mean accuracy, and what other test images would show."""
        return wilson(self.right.mean().item(), self.right.shape[1])

    def gain(self, before: "Rung") -> Interval:
        """Return how much more often this model is right than another one on the same images."""
        return paired_difference(before.right.mean(dim=0).tolist(), self.right.mean(dim=0).tolist())


def score(model: Classifier, data: Dataset) -> Tensor:
    """Return whether the model is right on each test image: 0 or 1."""
    return (predict(model, data.test).argmax(dim=1) == data.test.labels.cpu()).double()


def measure_rule(asked: str, data: Dataset) -> Rung:
    """Ask the user's function for the class of each test image. Raises DataError without files."""
    if not data.test.names:
        raise DataError(f"--rule is for image files, and {data.name} has none")
    began = time.monotonic()
    rule = load_function(asked, "--rule")
    said = [rule(Path(name)) for name in data.test.names]
    if strange := sorted({label for label in said if label and label not in data.classes}):
        raise DataError(f"--rule {asked}: returned '{strange[0]}'; the classes are {', '.join(data.classes[:8])}")
    truth = [data.classes[label] for label in data.test.labels.tolist()]
    right = torch.tensor([[float(one == other) for one, other in zip(said, truth, strict=True)]], dtype=torch.float64)
    return Rung(asked.rpartition(":")[2], right, time.monotonic() - began, 0)


def measure_closed_form(name: str, data: Dataset, context: DistributedContext) -> Rung:
    """Compute a closed-form model."""
    model = build(name, data)
    began = time.monotonic()
    fit_closed_form(model, data, context)
    return Rung(name, score(model, data)[None], time.monotonic() - began, count_parameters(model))


def measure_trained(name: str, data: Dataset, context: DistributedContext, seeds: int, each_s: float) -> Rung:
    """Train a model once per seed, each within its share of the time."""
    recipe = Recipe(lr=default_lr(name, pretrained=False), time_budget_s=each_s)
    if name in ("linear", "mlp"):
        recipe = replace(recipe, precision="float32")
    right, seconds, images = [], 0.0, 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = build(name, data)
        began = time.monotonic()
        *_, (_, network) = epochs = list(fit(model, Plan(data, replace(recipe, seed=seed), context)))
        seconds += time.monotonic() - began
        right.append(score(network or model, data))
        images += sum(metrics.images_per_s * metrics.seconds for metrics, _ in epochs)
    return Rung(name, torch.stack(right), seconds / seeds, count_parameters(model), images / seconds)


def measure_transfer(
    start: tuple[str, Path | None], data: Dataset, context: DistributedContext, seeds: int, each_s: float
) -> Rung:
    """Fine-tune a pretrained network: the last layer, and then all layers unless `each_s` is 0."""
    name, weights = start
    recipe = Recipe(lr=default_lr(name, pretrained=True), time_budget_s=each_s, batch_size=32, flip=True)
    right, seconds = [], 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = build(name, data, weights, pretrained=True)
        trained = count_parameters(model)
        began = time.monotonic()
        train_head(model, data, context, replace(recipe, seed=seed))
        if each_s:
            groups = group_layers(model, recipe.peak_lr)
            freeze_others(model, groups)
            trained = count_parameters(model)
            for _ in fit(model, Plan(data, replace(recipe, seed=seed), context, groups)):
                pass
        else:
            trained = count_parameters(find_head(model))
        seconds += time.monotonic() - began
        right.append(score(model, data))
    return Rung(f"{name}, {'all layers' if each_s else 'last layer'}", torch.stack(right), seconds / seeds, trained)


def count_head(model: Classifier) -> int:
    """Return the number of parameters of the last layer."""
    from .models.classifier import find_head

    return count_parameters(find_head(model))
