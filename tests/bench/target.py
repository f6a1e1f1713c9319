"""Train to an accuracy, from the start of a process: python -m tests.bench.target SIDE BEGAN FOLDER IMAGES.

SIDE is ours, or airbench (from PyPI, in FOLDER/packages; it needs a GPU). Both train on Fashion-MNIST as 32 x 32 pixels in
three channels, in FOLDER/cifar10, where airbench looks for its own data. It prints one JSON object: the seconds since BEGAN
until the model was on disk, the seconds of a second training without its tests, and its accuracy.
"""

import json
import os
import sys
import time
from pathlib import Path

from jobs.program import keep_memory

PARTS = ("train", "test")


def main() -> None:
    """Train twice with one side: with all that has to start, and again."""
    side, began, folder, images = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    sys.stdout.write(json.dumps({"ours": ours, "airbench": airbench}[side](began, folder, images)) + "\n")


def lay(folder: Path) -> None:
    """Write Fashion-MNIST's first 50,000 images, and those of its test, in the form of airbench's files."""
    import torch
    from torch.nn.functional import pad

    from jobs.config.data import DataConfig
    from jobs.data import load

    data = load(DataConfig("fashion-mnist"))
    (folder / "cifar10").mkdir(parents=True)
    for name, part, count in zip(PARTS, (data.train, data.test), (50_000, 10_000), strict=True):
        images = pad(part.images[:count], (2, 2, 2, 2)).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        kept = {"images": images.contiguous(), "labels": part.labels[:count], "classes": list(data.classes)}
        torch.save(kept, folder / "cifar10" / f"{name}.pt")


def ours(began: float, folder: Path, images: int) -> dict[str, float]:
    """Train by our loop, which chooses how to compute itself."""
    keep_memory()
    import torch

    from jobs.config.recipe import Recipe
    from jobs.data import Dataset, Split
    from jobs.models import build
    from jobs.models.modelfile import Facts, save_model
    from jobs.training.distributed import DistributedContext
    from jobs.training.fit import fit
    from jobs.training.state import Plan

    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    parts = []
    for name in PARTS:
        kept = torch.load(folder / "cifar10" / f"{name}.pt")
        parts.append(Split(kept["images"].permute(0, 3, 1, 2)[:images].contiguous(), kept["labels"][:images]))
    data = Dataset("fashion-32", tuple(kept["classes"]), *parts)
    epochs = 8 if device.type == "cuda" else 1
    recipe = Recipe(epochs=epochs, batch_size=1000, lr=0.01, optimizer="muon", flip=True, crop=2, tta=True)
    cold = 0.0
    for _ in range(2):
        torch.manual_seed(0)
        *_, (last, model) = (found := list(fit(build("resnet9", data), Plan(data, recipe, DistributedContext(device)))))
        facts = Facts("resnet9", data.classes, data.train.shape, data.name, last.score)
        save_model(folder / "model.safetensors", model, facts)
        cold = cold or time.time() - began
    return {"cold_s": cold, "warm_s": sum(each.seconds for each, _ in found), "accuracy": last.score}


def airbench(began: float, folder: Path, images: int) -> dict[str, float]:
    """Train by airbench's recipe for 94 %, which runs on a GPU only."""
    sys.path.insert(0, str(folder / "packages"))
    os.chdir(folder)
    import airbench as theirs
    import torch

    cold = 0.0
    for _ in range(2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        model = theirs.train94(verbose=False)
        torch.cuda.synchronize()
        warm = time.perf_counter() - started
        torch.save(model.state_dict(), folder / "airbench.pt")
        cold = cold or time.time() - began
    accuracy = theirs.evaluate(model, theirs.CifarLoader("cifar10", train=False, batch_size=2000), tta_level=2)
    return {"cold_s": cold, "warm_s": warm, "accuracy": accuracy}


if __name__ == "__main__":
    main()
