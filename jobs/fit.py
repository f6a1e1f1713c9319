"""The training loop: epochs of AdamW on a one-cycle schedule, each judged on the test set."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .data import Dataset

WARM_UP = 0.25  # share of all steps in which the learning rate climbs
WEIGHT_DECAY = 0.01
LABEL_SMOOTHING = 0.1


class TrainingError(Exception):
    """Training cannot go on; the message says what to change."""


@dataclass(frozen=True)
class Metrics:
    """One epoch: mean training loss, accuracy on the test set (0 to 1), speed and time of the training alone."""

    epoch: int
    train_loss: float
    test_accuracy: float
    images_per_s: float
    seconds: float


def fit(
    model: nn.Module, data: Dataset, epochs: int, batch_size: int, lr: float, device: torch.device
) -> Iterator[Metrics]:
    """Train `model` in place on `device`, yielding after each epoch."""
    # Channels last is the layout the convolutions compute in; with bfloat16 it is 2.2 times the images a second.
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = data.train_images.to(device), data.train_labels.to(device)
    steps = max(1, len(images) // batch_size)  # the incomplete batch at the end is left out
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps * epochs, pct_start=WARM_UP)
    precision = best_precision(device)
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        order = torch.randperm(len(images))[: steps * batch_size].to(device)
        total = torch.zeros((), device=device)
        model.train()
        for batch in torch.split(order, batch_size):
            total += step(model, images[batch], labels[batch], optimizer, precision)
            schedule.step()
        loss = total.item() / steps  # waits for the device, so the clock below is right
        seconds = time.perf_counter() - started
        if not math.isfinite(loss):
            raise TrainingError(f"the loss of epoch {epoch} is {loss}: try --lr below {lr}")
        yield Metrics(epoch, loss, evaluate(model, data.test_images, data.test_labels), len(order) / seconds, seconds)


def step(
    model: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer, precision: torch.dtype
) -> Tensor:
    """Adjust the weights to one batch, images uint8 (N, 1, H, W); return its mean loss, a scalar."""
    with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
        logits = model(images)
    loss = cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


@torch.inference_mode()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
    """Return the share of `images`, uint8 (N, 1, H, W), that `model` gives their label.

    In float32 whatever the training used: weights that are loaded again then score what was reported.
    """
    device = next(model.parameters()).device
    model.eval()
    guesses = torch.cat([model(batch.to(device)).argmax(dim=1).cpu() for batch in torch.split(images, batch_size)])
    return int((guesses == labels).sum()) / len(labels)


def best_precision(device: torch.device) -> torch.dtype:
    """Return the type to train in: bfloat16 where the hardware multiplies it, else float32.

    Elsewhere bfloat16 is emulated, and slower than float32.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif hasattr(torch.cpu, "get_capabilities"):  # newer than the oldest torch supported
        found = torch.cpu.get_capabilities()
        native = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    else:
        native = False
    return torch.bfloat16 if native else torch.float32
