"""Our training loop beside a bare one with the same network and tensors: python -m tests.bench.loops DEVICE NET IMAGES.

It prints one JSON object: images a second of each side, after the first epoch, in which kernels are chosen and recorded.
"""

import json
import statistics
import sys
import time

from jobs.program import keep_memory

ROUNDS = {"resnet50": 1}  # which is compiled, and takes as long as all others
BATCH = {"resnet50": 128}
SIDES: dict[str, dict[str, dict[str, object]]] = {
    "resnet50": {"compiled": {"runtime": "compile"}},
}
"""Recipes that are measured beside the bare loop."""
USUAL: dict[str, dict[str, object]] = {
    "ours": {},
    "augmented": {"flip": True, "crop": 2},
    "muon": {"optimizer": "muon"},
}


def main() -> None:
    """Measure all sides in turn."""
    name, net, images = sys.argv[1], sys.argv[2], int(sys.argv[3])
    keep_memory()
    import torch

    device = torch.device(name, 0) if name == "cuda" else torch.device(name)
    data = make_data(net, images, device)
    batch = BATCH.get(net, 500 if name == "cuda" else 256)
    speeds: dict[str, list[float]] = {}
    for _ in range(ROUNDS.get(net, 3)):
        speeds.setdefault("bare", []).append(bare(net, data, batch, device))
        for side, recipe in SIDES.get(net, USUAL).items():
            speeds.setdefault(side, []).append(ours(net, data, batch, device, recipe))
    sys.stdout.write(json.dumps({side: statistics.median(each) for side, each in speeds.items()}) + "\n")


def make_data(net: str, images: int, device: "object") -> "object":
    """Return Fashion-MNIST, on a GPU as airbench's colour images; for ResNet-50 noise of 224 pixels."""
    from dataclasses import replace

    import torch
    from torch.nn.functional import pad

    from jobs.config.data import DataConfig
    from jobs.data import Dataset, Split, load

    if net == "resnet50":
        noise = torch.randint(256, (images, 3, 224, 224), dtype=torch.uint8)
        split = Split(noise, torch.arange(images) % 10)
        return Dataset("noise", tuple("0123456789"), split, split.take(torch.arange(100)))
    data = load(DataConfig("fashion-mnist")).shorten(images)
    data = replace(data, test=data.test.take(torch.arange(500)))
    if device.type == "cpu":
        return data
    parts = [
        replace(part, images=pad(part.images, (2, 2, 2, 2)).expand(-1, 3, -1, -1)) for part in (data.train, data.test)
    ]
    return replace(data, train=parts[0], test=parts[1])


def execution(device: "object", runtime: "object" = None) -> "object":
    """Return how both sides compute."""
    from jobs.optim.precision import Execution, has_bfloat16

    number = "bfloat16" if device.type == "cuda" or has_bfloat16() else "float32"
    return Execution(number, "channels_last", runtime or ("graph" if device.type == "cuda" else "eager"))


def make_model(net: str, data: "object", device: "object") -> "object":
    """Return the network on its device."""
    import torch

    from jobs.models import build

    torch.manual_seed(0)
    return build(net, data).to(device, memory_format=torch.channels_last).train()


def ours(net: str, data: "object", batch: int, device: "object", wanted: dict[str, object]) -> float:
    """Return the images a second of our loop's last epoch."""
    from jobs.config.recipe import Recipe
    from jobs.training.distributed import DistributedContext
    from jobs.training.fit import fit
    from jobs.training.state import Plan

    recipe = Recipe(**{"epochs": 2, "batch_size": batch, "lr": 0.004, "label_smoothing": 0.0, **wanted})
    how = execution(device, wanted.get("runtime"))
    epochs = [
        each
        for each, _ in fit(make_model(net, data, device), Plan(data, recipe, DistributedContext(device), execution=how))
    ]
    return epochs[-1].images_per_s


def bare(net: str, data: "object", batch: int, device: "object") -> float:
    """Return the images a second of a loop without schedule, checkpoints, augmentation or figures."""
    import torch
    from torch.nn.functional import cross_entropy

    model = make_model(net, data, device)
    optimizer = torch.optim.AdamW(model.parameters(), 0.004, fused=True)
    images, labels, how = data.train.images.to(device), data.train.labels.to(device), execution(device)
    seconds = 0.0
    for _ in range(2):
        wait(device)
        began = time.perf_counter()
        order = torch.randperm(len(labels), device=device)
        for index in order[: len(order) // batch * batch].split(batch):
            optimizer.zero_grad()
            with how.autocast(device):
                logits = model(images[index])
            cross_entropy(logits.float(), labels[index]).backward()
            optimizer.step()
        wait(device)
        seconds = time.perf_counter() - began
    return len(labels) // batch * batch / seconds


def wait(device: "object") -> None:
    """Wait until a GPU has finished."""
    from jobs.optim.precision import wait

    wait(device)


if __name__ == "__main__":
    main()
