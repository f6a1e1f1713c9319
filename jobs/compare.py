"""The ladder: what each step beyond a simple baseline gains, and what it costs.

`python -m jobs.compare --data fashion-mnist --models majority,mean-image,linear,mlp,lenet,resnet9 --budget 2m` gives each
model that is trained the same share of the time, over several seeds, and writes compare.json and compare.png.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .config.data import DataConfig
from .config.recipe import CLOSED, Recipe, add_options, default_lr, pick
from .program import Parser, default_out, duration, keep_memory, number, run_program, say

if TYPE_CHECKING:
    from .data import Dataset
    from .training.distributed import DistributedContext

MODELS = "majority,mean-image,linear,mlp,lenet,resnet9"


@dataclass(frozen=True)
class Rung:
    """One model of the ladder, over all seeds."""

    model: str
    accuracies: tuple[float, ...]
    seconds: float
    """Mean time of one training."""
    parameters: int
    images_per_s: float
    """Images trained on each second; 0 for what is computed at once."""


def main(argv: Sequence[str] | None = None) -> list[Rung]:
    """Run the program and return the ladder; what a user can mend ends in one line and status 1 or 2."""
    parser = Parser("jobs.compare", description="Compare models on the same data in the same time.")
    add_options(parser, DataConfig())
    parser.add_argument("--models", default=MODELS, metavar="A,B,...", help="in the order to show them (%(default)s)")
    parser.add_argument("--budget", type=duration, default=120.0, metavar="TIME", help="for all training together (2m)")
    parser.add_argument("--seeds", type=number(int, 1), default=3, metavar="N", help="trainings of each (%(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to train")
    parser.add_argument("--out", type=Path, default=default_out(), metavar="DIR", help="for compare.json, compare.png")
    asked = parser.parse_args(argv)
    keep_memory()
    config, models = pick(DataConfig, vars(asked)), [name for name in asked.models.split(",") if name]
    return run_program("jobs.compare", lambda: run(config, models, asked.budget, asked.seeds, asked.device, asked.out))


def run(config: DataConfig, models: Sequence[str], budget_s: float, seeds: int, device: str, out: Path) -> list[Rung]:
    """Climb the ladder, print and draw it; return it."""
    from .data import load
    from .training.distributed import take_place

    data = load(config)
    say(f"{data.name}: {len(data.train):,} images to train on, {len(data.test):,} to test")
    trained = sum(name not in CLOSED for name in models)
    each_s = budget_s / max(1, trained * seeds)
    rungs = []
    say(f"{'model':<20} {'accuracy, 95 %':>17} {'seconds':>9} {'parameters':>12} {'images/s':>10}")
    with take_place(device) as place:
        for name in models:
            rungs.append(climb(name, data, each_s, 1 if name in CLOSED else seeds, place))
            say(line(rungs[-1]))
    out.mkdir(parents=True, exist_ok=True)
    (out / "compare.json").write_text(json.dumps([asdict(rung) for rung in rungs], indent=2) + "\n")
    draw(out / "compare.png", rungs, data.name)
    say(str(out / "compare.png"))
    return rungs


def climb(name: str, data: "Dataset", budget_s: float, seeds: int, place: "DistributedContext") -> Rung:
    """Return what a model reaches in `budget_s` with each of the seeds."""
    import torch

    from .models import build, count_parameters
    from .models.classifier import ClosedForm
    from .training.closed_form import solve
    from .training.fit import fit

    accuracies, seconds, images = [], 0.0, 0.0
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = build(name, data)
        began = time.monotonic()
        if isinstance(model.net, ClosedForm):
            accuracies.append(solve(model, data, place))
        else:
            recipe = Recipe(seed=seed, lr=default_lr(name, pretrained=False), time_budget_s=budget_s)
            recipe = replace(recipe, precision="float32") if name in ("linear", "mlp") else recipe
            epochs = [metrics for metrics, _ in fit(model, data, recipe, place)]
            accuracies.append(epochs[-1].accuracy)
            images += sum(epoch.images_per_s * epoch.seconds for epoch in epochs)
        seconds += time.monotonic() - began
    return Rung(name, tuple(accuracies), seconds / seeds, count_parameters(model), images / seconds)


def line(rung: Rung) -> str:
    """Return a rung as a line of the table."""
    from .training.evaluation import interval

    speed = f"{rung.images_per_s:,.0f}" if rung.images_per_s else ""
    accuracy = str(interval(rung.accuracies))
    return f"{rung.model:<20} {accuracy:>17} {rung.seconds:>9.1f} {rung.parameters:>12,} {speed:>10}"


def draw(path: Path, rungs: Sequence[Rung], data: str) -> None:
    """Draw the ladder as bars with their intervals."""
    from .look.plots import BLUE, INK, figure
    from .training.evaluation import interval

    found = [interval(rung.accuracies) for rung in rungs]
    with figure(path, size=(6.4, 0.8 + 0.5 * len(rungs))) as axis:
        places = range(len(rungs))[::-1]
        halves = [each.half if each.half == each.half else 0.0 for each in found]
        axis.barh(places, [each.mean for each in found], xerr=halves, color=BLUE, ecolor=INK, capsize=3)
        for place, each in zip(places, found, strict=True):
            axis.text(0.01, place, f"{each.mean:.1%}", va="center", color="white" if each.mean > 0.15 else INK)
        axis.set_yticks(list(places), [f"{rung.model}\n{rung.seconds:.0f} s" for rung in rungs])
        axis.set_xlim(0, 1)
        axis.set_xlabel(f"test accuracy on {data}, 95 % over seeds")


if __name__ == "__main__":
    main()
