"""One side of a comparison of training loops, in a process of its own: python -m tests.bench.learning SIDE NET IMAGES.

It prints one JSON object: images trained on each second after the first epoch's start, and the accuracy it reached.
"""

import json
import sys
import time
from collections.abc import Iterator

from jobs.program import keep_memory

EPOCHS = 2
BATCH, OUR_BATCH = 64, 256
LR, OUR_LR = 0.001, 0.004


def main() -> None:
    """Train one side."""
    side, net, images = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if side in ("ours", "bare"):
        keep_memory()
    import torch

    from jobs.config.data import DataConfig
    from jobs.data import load

    torch.manual_seed(0)
    data = load(DataConfig("fashion-mnist")).shorten(images)
    seconds, accuracy = {"ours": ours, "bare": bare, "plain": plain, "fastai": fastai}[side](net, data)
    sys.stdout.write(json.dumps({"images_per_s": EPOCHS * images / seconds, "accuracy": accuracy}) + "\n")


def make_net(name: str) -> "object":
    """Return the network of pytorch/examples mnist (BSD-3, its shape written anew), or a small conv-pool-BN net."""
    from torch import nn

    from jobs.models.cnn import small

    if name == "small":
        return small(1, 10)
    features = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    head = [nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*features, nn.Flatten(), *head)


def ours(net: str, data: "object") -> tuple[float, float]:
    """Train by our loop; seconds of training alone, as for the others."""
    import torch

    from jobs.config.recipe import Recipe
    from jobs.models import Classifier
    from jobs.models.networks import statistics
    from jobs.training.distributed import DistributedContext
    from jobs.training.fit import fit
    from jobs.training.state import Plan

    model = Classifier(make_net(net), *statistics(data.train))
    recipe = Recipe(epochs=EPOCHS, batch_size=OUR_BATCH, lr=OUR_LR, optimizer="adamw", label_smoothing=0)
    plan = Plan(data, recipe, DistributedContext(torch.device("cpu")))
    epochs = [metrics for metrics, _ in fit(model, plan)]
    return sum(epoch.seconds for epoch in epochs), epochs[-1].score


def plain(net: str, data: "object") -> tuple[float, float]:
    """Train as a tutorial does: images one by one through transforms and a DataLoader."""
    import torch
    from PIL import Image
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    class Items(Dataset):
        def __init__(self, part: "object") -> None:
            self.images, self.labels = part.images.squeeze(1).numpy(), part.labels

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, at: int) -> "object":
            return normalise(Image.fromarray(self.images[at])), int(self.labels[at])

    model = make_net(net)
    optimizer = torch.optim.AdamW(model.parameters(), LR)
    loader = DataLoader(Items(data.train), BATCH, shuffle=True)
    began = time.perf_counter()
    model.train()
    for _ in range(EPOCHS):
        for images, labels in loader:
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
    seconds = time.perf_counter() - began
    return seconds, score(model, DataLoader(Items(data.test), 500))


def score(model: "object", loader: "object") -> float:
    """Return the share of images that get their label."""
    import torch

    model.eval()
    with torch.inference_mode():
        right = [(model(images).argmax(1) == labels).sum().item() for images, labels in loader]
    return sum(right) / len(loader.dataset)


def bare(net: str, data: "object") -> tuple[float, float]:
    """Train as our loop does, with all that it does besides left out: what its care costs."""
    import torch
    from torch.nn.functional import cross_entropy

    from jobs.models import Classifier
    from jobs.models.networks import statistics

    model = Classifier(make_net(net), *statistics(data.train)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), OUR_LR, fused=True)

    def order() -> "Iterator[object]":
        yield from torch.randperm(len(data.train))[: len(data.train) // OUR_BATCH * OUR_BATCH].split(OUR_BATCH)

    began = time.perf_counter()
    for _ in range(EPOCHS):
        for index in order():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(data.train.images[index])
            cross_entropy(logits.float(), data.train.labels[index]).backward()
            optimizer.step()
    return time.perf_counter() - began, 0.0


def fastai(net: str, data: "object") -> tuple[float, float]:
    """Train by fastai's Learner on the same items, without its validation after each epoch: the others have none."""
    import fastai.callback.schedule  # noqa: F401 (gives the Learner fit_one_cycle)
    import torch
    from fastai.callback.core import Callback, CancelValidException
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from torch.nn.functional import cross_entropy

    class WithoutValidation(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

    def items(part: "object") -> list["object"]:
        images = (part.images.float() / 255 - 0.1307) / 0.3081
        return [(images[at], int(part.labels[at])) for at in range(len(part))]

    train = DataLoader(items(data.train), bs=BATCH, shuffle=True, num_workers=0)
    test = torch.utils.data.DataLoader(items(data.test), 500)
    loaders = DataLoaders(train, train, device=torch.device("cpu"))
    learner = Learner(loaders, make_net(net), loss_func=cross_entropy, cbs=WithoutValidation())
    began = time.perf_counter()
    learner.fit_one_cycle(EPOCHS, LR)
    return time.perf_counter() - began, score(learner.model, test)


if __name__ == "__main__":
    main()
