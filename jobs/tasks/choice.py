"""Find a task by its name, and refuse what it cannot be combined with."""

from torch import Tensor

from ..config.data import MULTI, REGRESSION, SINGLE
from ..config.recipe import CLOSED_FORM, Recipe
from ..errors import DataError, TrainingError
from .number import make_regression
from .several import MULTI_LABEL
from .single import SINGLE_LABEL
from .task import Task


def find_task(name: str, centre: float = 0.0, scale: float = 1.0) -> Task:
    """Return the task of this name; raises KeyError for one of another version."""
    return {SINGLE: SINGLE_LABEL, MULTI: MULTI_LABEL, REGRESSION: make_regression(centre, scale)}[name]


def fit_task(name: str, labels: Tensor) -> Task:
    """Return the task of this name; a number has a mean and a standard deviation. Raises DataError."""
    if name != REGRESSION or not len(labels):
        return find_task(name)
    centre, spread = labels.double().mean().item(), labels.double().std(correction=0).item()
    if not spread:
        raise DataError(f"all training images have the number {centre:g}: there is nothing to learn")
    return find_task(name, centre, spread)


def check_request(name: str, model: str, recipe: Recipe) -> None:
    """Raise TrainingError for a model or options that are for classes only."""
    if name != SINGLE and model in CLOSED_FORM:
        raise TrainingError(f"--model {model}: is for one class for each image; for {name}, try --model linear")
    if name == REGRESSION:
        for option, given in (("--class-weights", recipe.class_weights), ("--cutmix", recipe.cutmix)):
            if given:
                raise TrainingError(f"{option} is for classes, not for --regression; leave it out")
