"""Show what a network sees: `python -m jobs.show --data photos/ --flip --zoom 0.3`.

Each row is one training image: as it is held in memory, then as the first epochs change it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .config.data import DataConfig
from .config.recipe import Recipe, add_options, pick
from .program import Parser, check_file, count_of, default_out, keep_memory, number, run_program, say

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Dataset

SIDE = 96
"""The least side of a picture in the grid: smaller images are enlarged by a whole number, pixel by pixel."""
GAP = 4


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the picture; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.show", description="Draw training images as the network sees them, after augmentation.")
    add_options(parser, DataConfig())
    parser.add_argument("--rows", type=number(int, 1, 100), default=6, metavar="N", help="images (%(default)s)")
    parser.add_argument("--columns", type=number(int, 1, 100), default=8, metavar="N", help="of each (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"PNG file ({default_out() / 'show.png'})")
    add_options(parser, Recipe())
    asked = vars(parser.parse_args(argv))
    keep_memory()
    config, recipe = pick(DataConfig, asked), pick(Recipe, asked)
    out = asked["out"] or default_out() / "show.png"
    return run_program("jobs.show", lambda: run(config, recipe, (int(asked["rows"]), int(asked["columns"])), out))


def run(config: DataConfig, recipe: Recipe, grid: tuple[int, int], out: Path) -> Path:
    """Write the grid. Raises JobsError."""
    from dataclasses import replace

    from .data import load

    check_file(out)
    data = load(replace(config, seed=recipe.seed))
    views = draw_views(data, recipe, choose(data, grid[0]), grid[1])
    write_grid(views, out)
    say(f"{data.name}: {count_of(len(views[0]), 'training image')}, {' x '.join(map(str, data.shape))}\n{out}")
    return out


def draw_views(data: "Dataset", recipe: Recipe, chosen: "Tensor", columns: int) -> "list[Tensor]":
    """Return images (N, C, H, W) as they are, then as each step of a training would change them."""
    import torch
    from torch.nn.functional import interpolate

    from .augment.changes import change, mix
    from .augment.draws import draws
    from .data.batches import batches

    device = torch.device("cpu")
    images, labels = next(batches(data.train, chosen, len(chosen), device))
    views = [interpolate(images.float(), data.shape[1:], mode="bilinear", antialias=True)]
    for draw in draws(recipe.seed, range(columns - 1), len(chosen), device):
        changed = change(images, recipe, draw, data.shape[-1])
        if recipe.mixup or recipe.cutmix:
            changed = mix(changed, data.task.shares(labels, len(data.classes)), recipe, draw)[0]
        views.append(changed)
    return views


def choose(data: "Dataset", count: int) -> "Tensor":
    """Return images of as many classes as possible: the first of each, then the second."""
    import torch

    turns = torch.zeros(len(data.train), dtype=torch.int64)
    strata = data.task.strata(data.train.labels)
    for label in strata.unique():
        members = strata == label
        turns[members] = torch.arange(int(members.sum()))
    return turns.argsort(stable=True)[:count]


def write_grid(views: "Sequence[Tensor]", out: Path) -> None:
    """Write a picture with a row for each image and a column for each view."""
    from PIL import Image

    from .look.inside import picture

    height, width = views[0].shape[2:]
    factor = max(1, SIDE // min(height, width))
    height, width = height * factor, width * factor
    whole = Image.new("RGB", (len(views) * (width + GAP) - GAP, len(views[0]) * (height + GAP) - GAP), "white")
    for across, view in enumerate(views):
        for down, image in enumerate(view):
            tile = Image.fromarray(picture(image.float().round().clamp(0, 255).byte()))
            place = (across * (width + GAP), down * (height + GAP))
            whole.paste(tile.resize((width, height), Image.Resampling.NEAREST), place)
    whole.save(out)


if __name__ == "__main__":
    main()
