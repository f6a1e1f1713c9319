"""Five-fold transfer of the packaged lite0 weights to a folder of photographs, beside a network from scratch."""

import json
import sys
import time
from pathlib import Path

from jobs.program import keep_memory

SIZE = 128
SCRATCH_S = 20.0


def main() -> None:
    """Print one JSON object: both mean accuracies, and the seconds of one fold's transfer."""
    keep_memory()
    import torch

    from jobs.config.recipe import Recipe
    from jobs.data import Dataset, Split
    from jobs.data.splits import folds
    from jobs.images.decoding import read_images
    from jobs.images.listing import list_classes
    from jobs.models import build
    from jobs.training.distributed import DistributedContext
    from jobs.training.evaluation import evaluate
    from jobs.training.fit import fit
    from jobs.training.head import train_head
    from jobs.training.state import Plan

    listing, context = list_classes(Path(sys.argv[1])), DistributedContext(torch.device("cpu"))
    images, whole = read_images(listing.files, SIZE, strict=True)
    everything = Split(images, torch.tensor([listing.classes.index(listing.labels[at]) for at in whole]))
    transfer, scratch, seconds = [], [], []
    for train, test in folds(everything.labels, 5, seed=0):
        data = Dataset("stamps", listing.classes, everything.take(train), everything.take(test))
        torch.manual_seed(0)
        began = time.perf_counter()
        model = build("efficientnet_lite0", data, pretrained=True)
        train_head(model, data, context, Recipe(flip=True))
        seconds.append(time.perf_counter() - began)
        transfer.append(evaluate(model, data.test))
        recipe = Recipe(batch_size=16, lr=0.005, flip=True, crop=8, time_budget_s=SCRATCH_S)
        *_, (last, _) = fit(build("small", data), Plan(data, recipe, context))
        scratch.append(last.score)
    means = {"transfer": sum(transfer) / 5, "scratch": sum(scratch) / 5, "seconds": sorted(seconds)[2]}
    sys.stdout.write(json.dumps(means) + "\n")


if __name__ == "__main__":
    main()
