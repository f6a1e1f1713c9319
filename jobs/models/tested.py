"""The images that a trained model is looked at with: those of its run, or others in the same form."""

from dataclasses import replace
from pathlib import Path

from ..config.data import SINGLE, DataConfig, recall
from ..data import Dataset, load
from ..data.parts import drop_trained
from ..errors import DataError
from .modelfile import Facts, find_model


def need_classes(facts: Facts, program: str) -> None:
    """Raise DataError for a model of another task than one class for each image."""
    if facts.task.name != SINGLE:
        raise DataError(
            f"{program} is for one class for each image, and this model's task is {facts.task.name}; its figures and its "
            "errors: python -m jobs.validate"
        )


def load_tested(checkpoint: Path, facts: Facts, config: DataConfig, whole: bool = False, fold: bool = True) -> Dataset:
    """Load images as the model needs them, without test images that it was trained on. Raises DataError.

    With `whole`, a folder or table that is not divided is tested with as a whole. Without `fold`, the test part of a
    model of one fold is that of the data, if they have one.
    """
    folder = find_model(checkpoint).parent
    config = recall(config, folder / "args.json")
    config = config if fold else replace(config, fold=0)
    size = facts.shape[1] if facts.shape[1] == facts.shape[2] else 0
    config = replace(config, seed=facts.seed, size=size, presize=0, range=config.range or facts.levels)
    config = replace(config, resize=facts.resize, interpolation=facts.interpolation).ask(facts.task.name)
    data = drop_trained(load(config, classes=facts.classes, whole=whole), folder)
    if data.test.shape[0] != facts.shape[0]:
        raise DataError(f"the model needs {facts.shape[0]} channels, {data.name} has {data.test.shape[0]}")
    return data
