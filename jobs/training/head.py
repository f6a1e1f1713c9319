"""Train only the last layer, on features that the frozen body extracts from the images.

The body does not change, so each image passes through it once, not once per epoch.
"""

import torch
from torch import Tensor, nn

from ..config.recipe import Recipe
from ..data import Dataset, Split
from ..data.batches import batches
from ..data.memory import limit_batch
from ..models import Classifier
from ..models.classifier import find_head
from ..optim.optimizers import FUSED
from ..program import say
from .distributed import DistributedContext

STEPS = 300
LR = 0.02
WEIGHT_DECAY = 2.0
"""Large, because features outnumber images: 5 classes of 150 photos gain two points over 0.05; 1 to 8 are equal."""
BATCH = 32


def train_head(model: Classifier, data: Dataset, context: DistributedContext, recipe: Recipe) -> None:
    """Train the last layer on the training images and, if the recipe flips, their mirror images."""
    model.to(context.device).eval()
    features, labels = extract_features(model, data.scale_train(), context, recipe.flip)
    weights = data.task.weigh(labels, len(data.classes)).to(labels.device) if recipe.class_weights else None
    head = find_head(model)
    scale = features.std(dim=0, keepdim=True).clamp(min=1e-3)
    torch.manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(head.parameters(), LR, weight_decay=WEIGHT_DECAY, fused=context.device.type in FUSED)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=STEPS)
    # Standardized features share one learning rate; the weights are converted back at the end.
    with torch.no_grad():
        head.weight.mul_(shaped(scale, head))  # type: ignore[operator]
    for _ in range(STEPS):
        loss = data.task.loss(ask(head, features / scale), labels, weights, recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        head.weight.div_(shaped(scale, head))  # type: ignore[operator]
    say(
        f"trained the last layer on {len(features):,} frozen feature vectors of length {features.shape[1]:,}, "
        f"loss {loss.item():.4f}"
    )


@torch.no_grad()
def extract_features(
    model: Classifier, split: Split, context: DistributedContext, mirror: bool
) -> tuple[Tensor, Tensor]:
    """Return the last layer's input for each image (N, F) and the labels; `mirror` adds mirror images."""
    features: list[Tensor] = []
    labels: list[Tensor] = []
    size = limit_batch(BATCH, split.shape)

    def keep(_: nn.Module, given: tuple[Tensor]) -> None:
        # A last layer that is a convolution, SqueezeNet's, is followed by the mean over all positions: both are linear.
        found = given[0].float()
        features.append(found.mean(dim=(2, 3)) if found.dim() == 4 else found.flatten(1))

    hook = find_head(model).register_forward_pre_hook(keep)
    try:
        for images, targets in batches(split, torch.arange(len(split)), size, context.device):
            for view in (images, images.flip(3)) if mirror else (images,):
                with torch.autocast(context.device.type, torch.bfloat16, enabled=context.device.type == "cuda"):
                    model(view)
                labels.append(targets)
    finally:
        hook.remove()
    return torch.cat(features), torch.cat(labels)


def ask(head: nn.Module, features: Tensor) -> Tensor:
    """Return the logits of features (N, F), also for a last layer that is a convolution."""
    if isinstance(head, nn.Conv2d):
        features = features[..., None, None]
    logits: Tensor = head(features)
    return logits.flatten(1)


def shaped(scale: Tensor, head: nn.Module) -> Tensor:
    """Reshape one number per feature to the last layer's weights."""
    return scale[..., None, None] if isinstance(head, nn.Conv2d) else scale
