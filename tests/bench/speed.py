"""How fast training is for its hardware: our loop by a bare one, Muon by AdamW, our loader by torchvision's."""

import shutil
import statistics
from collections.abc import Iterator
from functools import cache

from tests.bench.loading import PHOTOGRAPHS, lay_photographs
from tests.bench.sizes import Sizes
from tests.bench.table import Row
from tests.bench.training import compare, read_figures
from tests.bench.world import World


@cache
def has_gpu() -> bool:
    """Return whether torch finds a GPU."""
    import torch

    return torch.cuda.is_available()


def unmeasured(what: str, bar: str) -> Row:
    """Return the row of something that needs a GPU, where there is none."""
    return Row(what, "", "no GPU here", "", "", bar, "")


def measure_speed(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield Muon's images/s by AdamW's, and our loop's by a bare one's, on a GPU if there is one."""
    if has_gpu():
        yield from measure_loop(world, "resnet9", 2 * sizes.images)
        yield from measure_loop(world, "small", 2 * sizes.images)
    else:
        yield from measure_loop(world, "small", sizes.images // 4)
        yield unmeasured("our loop, resnet9, images/s, by a bare one", ">= 0.95 x")
    yield from measure_resnet50(world)


def measure_loop(world: World, net: str, images: int) -> Iterator[Row]:
    """Yield the rows of one network."""
    speed = read_figures(world, "tests.bench.loops", "cuda" if has_gpu() else "cpu", net, str(images))
    yield compare(f"{net} with Muon, images/s, by AdamW", 0.85, speed["muon"], speed["ours"])
    yield compare(f"our loop, {net}, images/s, by a bare one", 0.95, speed["ours"], speed["bare"])
    yield compare("  with flip and crop", 0.9, speed["augmented"], speed["bare"])


def measure_resnet50(world: World) -> Iterator[Row]:
    """Yield what compiling wins."""
    what = "ResNet-50 at 224, compiled, images/s, by a bare loop"
    if not has_gpu():
        yield unmeasured(what, ">= 1.4 x")
        return
    speed = read_figures(world, "tests.bench.loops", "cuda", "resnet50", "2560")
    yield compare(what, 1.4, speed["compiled"], speed["bare"])


def measure_loaders(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield the first epoch's images/s at 224 pixels by those of torchvision's loader."""
    for (name, size), bar, count in zip(PHOTOGRAPHS.items(), (1.3, 2.0), (400, 100), strict=True):
        folder = lay_photographs(world.folder / name, size, max(20, count * sizes.heavy_rounds // 3))
        speeds: dict[str, list[float]] = {side: [] for side in ("torchvision", "streamed", "memory", "cached")}
        for _ in range(sizes.heavy_rounds):
            shutil.rmtree(world.folder / "decoded", ignore_errors=True)
            for side, found in speeds.items():
                program = "memory" if side == "cached" else side
                words = (program, str(folder), str(world.folder / "decoded"))
                found.append(read_figures(world, "tests.bench.loading", *words)["images_per_s"])
        speed = {side: statistics.median(found) for side, found in speeds.items()}
        yield compare(f"JPEGs of {name}, streamed, by torchvision", bar, speed["streamed"], speed["torchvision"])
        yield compare("  into memory", bar, speed["memory"], speed["torchvision"])
        yield compare("  from the cache", 10, speed["cached"], speed["torchvision"])
