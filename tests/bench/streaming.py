"""ResNet-50 on JPEG files, decoded during training and before: python -m tests.bench.streaming DEVICE FOLDER CACHE.

It prints one JSON object: images a second of the last epoch, streamed and from memory; and of decoding alone, by our
processes and, on a GPU, by torchvision's nvJPEG.
"""

import json
import sys
import time
from pathlib import Path

SIZE, BATCH, EPOCHS = 224, 64, 3


def main() -> None:
    """Measure all sides in turn."""
    from jobs.program import keep_memory

    name, folder, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    keep_memory()
    import torch

    device = torch.device(name, 0) if name == "cuda" else torch.device(name)
    speeds = {side: train(device, folder, cache, side == "streamed") for side in ("streamed", "memory")}
    speeds["decoders"] = decode(folder)
    if name == "cuda":
        speeds["nvjpeg"] = decode_there(folder, device)
    sys.stdout.write(json.dumps(speeds) + "\n")


def train(device: "object", folder: Path, cache: Path, stream: bool) -> float:
    """Return the images a second of our loop's last epoch."""
    from jobs.config.data import DataConfig
    from jobs.config.recipe import Recipe
    from jobs.data import Source, load
    from jobs.models import build
    from jobs.training.distributed import DistributedContext
    from jobs.training.fit import fit
    from jobs.training.state import Plan
    from tests.bench.loops import execution

    data = load(DataConfig(str(folder), size=SIZE, stream=stream), Source(cache=cache, download=False))
    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH, lr=0.002)
    plan = Plan(data, recipe, DistributedContext(device), execution=execution(device, "eager"))
    return [each for each, _ in fit(build("resnet50", data), plan)][-1].images_per_s


def decode(folder: Path) -> float:
    """Return the images a second of our processes, once they have started."""
    import torch

    from jobs.data.decoders import Decoders
    from jobs.images.decoding import Files

    files = Files(tuple(sorted(folder.rglob("*.jpg"))), SIZE, 3)
    chunks = [files.take(range(at, min(at + BATCH, len(files)))) for at in range(0, len(files), BATCH)]
    with Decoders(torch.device("cpu")) as decoders:
        list(decoders.decode(chunks))
        began = time.perf_counter()
        count = sum(len(images) for images, _ in decoders.decode(chunks))
        return count / (time.perf_counter() - began)


def decode_there(folder: Path, device: "object") -> float:
    """Return the images a second of nvJPEG, scaled on the GPU."""
    import torch
    from torchvision.io import decode_jpeg, read_file
    from torchvision.transforms.v2.functional import center_crop, resize

    paths = [str(path) for path in sorted(folder.rglob("*.jpg"))]
    seconds = 0.0
    for _ in range(2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for at in range(0, len(paths), BATCH):
            images = decode_jpeg([read_file(path) for path in paths[at : at + BATCH]], device=device)
            torch.stack([center_crop(resize(image, SIZE), SIZE) for image in images])
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return len(paths) / seconds


if __name__ == "__main__":
    main()
