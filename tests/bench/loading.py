"""One side of a comparison of image loaders: python -m tests.bench.loading SIDE FOLDER CACHE.

It prints one JSON object: images a second of the first epoch at 224 pixels, with all that has to start for it.
"""

import json
import sys
import time
from pathlib import Path

SIZE, BATCH = 224, 64
PHOTOGRAPHS = {"500x375": (500, 375), "2000x1500": (2000, 1500)}


def main() -> None:
    """Load with one side."""
    side, folder, cache = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    import torch
    import torchvision  # noqa: F401  both sides have it imported when their time starts

    from jobs.data import sources  # noqa: F401

    torch.set_num_threads(1)
    began = time.perf_counter()
    count = {"torchvision": theirs, "streamed": streamed, "memory": memory}[side](folder, cache)
    seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"images_per_s": count / seconds}) + "\n")


def theirs(folder: Path, cache: Path) -> int:
    """Load as torchvision's references do, with as many workers as ours."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    from jobs.data.decoders import count_workers

    look = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()])
    loader = DataLoader(ImageFolder(str(folder), look), BATCH, shuffle=True, num_workers=count_workers())
    return sum(len(images) for images, _ in loader)


def streamed(folder: Path, cache: Path) -> int:
    """Decode during training."""
    return ours(folder, cache, stream=True)


def memory(folder: Path, cache: Path) -> int:
    """Decode into memory, or find what was decoded in the cache."""
    return ours(folder, cache, stream=False)


def ours(folder: Path, cache: Path, stream: bool) -> int:
    """Load with our data sets; all images, those held out too."""
    import torch

    from jobs.config.data import DataConfig
    from jobs.data import Source, load
    from jobs.data.batches import batches
    from jobs.data.decoders import Decoders

    data = load(DataConfig(str(folder), size=SIZE, stream=stream), Source(cache=cache, download=False))
    count, cpu = 0, torch.device("cpu")
    with Decoders(cpu) as decoders:
        for part in (data.train, data.test):
            order = torch.randperm(len(part))
            count += sum(len(images) for images, _ in batches(part, order, BATCH, cpu, decoders))
    return count


def lay_photographs(folder: Path, size: tuple[int, int], count: int) -> Path:
    """Write photographs of this size into two class folders: parts of scikit-learn's two, with noise.

    The noise stands for a sensor's: without it, an enlarged photograph compresses to less than a real one.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    draw = np.random.default_rng(0)
    for label, photograph in enumerate(map(Image.fromarray, load_sample_images().images)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        for number in range(count // 2):
            width = int(draw.integers(photograph.width // 2, photograph.width))
            height = min(photograph.height, width * size[1] // size[0])
            left, top = (
                int(draw.integers(0, whole - part + 1))
                for whole, part in zip(photograph.size, (width, height), strict=True)
            )
            part = photograph.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
            noisy = np.asarray(part) + draw.normal(0, 4, (size[1], size[0], 1))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / str(label) / f"{number}.jpg", quality=90)
    return folder


if __name__ == "__main__":
    main()
