"""Fit closed-form models: one pass over the training set, no steps."""

import torch

from ..data import Dataset
from ..data.batches import batches
from ..models import Classifier
from ..models.classifier import ClosedForm
from .distributed import DistributedContext
from .evaluation import measure

BATCH = 1000


@torch.no_grad()
def fit_closed_form(model: Classifier, data: Dataset, context: DistributedContext) -> dict[str, float]:
    """Compute the model from the training images; return its figures."""
    model.to(context.device)
    net = model.net
    if not isinstance(net, ClosedForm):
        raise TypeError(f"{type(net).__name__} is trained by steps, not computed")
    for images, labels in batches(data.train, torch.arange(len(data.train)), BATCH, context.device):
        net.partial_fit(model.normalise(images), labels)
    return measure(model, data.test)
