"""Networks by name, each taking uint8 images as they are stored and giving a number for each class."""

from .classifier import Classifier, count_parameters
from .networks import build

__all__ = ["Classifier", "build", "count_parameters"]
