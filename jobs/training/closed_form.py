"""Models that are computed from the images at once: one pass over the training set."""

import torch

from ..data import Dataset
from ..data.batches import batches
from ..models import Classifier
from ..models.classifier import ClosedForm
from .distributed import DistributedContext
from .evaluation import evaluate

BATCH = 1000


@torch.no_grad()
def solve(model: Classifier, data: Dataset, place: DistributedContext) -> float:
    """Compute the model from the training images; return its accuracy on the test images."""
    model.to(place.device)
    net = model.net
    if not isinstance(net, ClosedForm):
        raise TypeError(f"{type(net).__name__} is trained, not computed")
    for images, labels in batches(data.train, torch.arange(len(data.train)), BATCH, place.device):
        net.solve(model.normalise(images), labels)
    return evaluate(model, data.test)
