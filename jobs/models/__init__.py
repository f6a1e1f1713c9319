"""Networks by name: each takes uint8 images and returns one logit per class."""

from .classifier import Classifier, count_parameters
from .networks import build

__all__ = ["Classifier", "build", "count_parameters"]
