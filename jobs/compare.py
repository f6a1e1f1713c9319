"""Compare models: what each step beyond a simple baseline gains, and what it costs.

`python -m jobs.compare --data fashion-mnist --models majority,mean-image,linear,mlp,lenet,resnet9 --budget 2m` gives each
trained model the same share of the time, over several seeds, and writes compare.json and compare.png.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .config.data import DataConfig
from .config.recipe import CLOSED_FORM, Recipe, add_options, default_lr, pick
from .errors import TrainingError
from .program import Parser, check_folder, default_out, duration, keep_memory, number, run_program, say

if TYPE_CHECKING:
    from .data import Dataset
    from .training.distributed import DistributedContext

MODELS = "majority,mean-image,linear,mlp,lenet,resnet9"


@dataclass(frozen=True)
class Comparison:
    """Which models to compare, and how."""

    models: Sequence[str]
    budget_s: float
    """For all training runs together."""
    seeds: int
    """Training runs per model."""
    device: str

    @property
    def each_s(self) -> float:
        """The time for each training run."""
        trained = sum(name not in CLOSED_FORM for name in self.models)
        return self.budget_s / max(1, trained * self.seeds)


@dataclass(frozen=True)
class Rung:
    """One model in the comparison, over all seeds."""

    model: str
    accuracies: tuple[float, ...]
    seconds: float
    """Mean time of one training run."""
    parameters: int
    images_per_s: float
    """Training images per second; 0 for closed-form models."""


def main(argv: Sequence[str] | None = None) -> list[Rung]:
    """Run the program and return the ladder; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.compare", description="Compare models on the same data in the same time.")
    add_options(parser, DataConfig())
    parser.add_argument("--models", default=MODELS, metavar="A,B,...", help="models, in display order (%(default)s)")
    parser.add_argument("--budget", type=duration, default=120.0, metavar="TIME", help="total training time (2m)")
    parser.add_argument(
        "--seeds", type=number(int, 1), default=3, metavar="N", help="training runs per model (%(default)s)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="device to train on")
    parser.add_argument(
        "--out", type=Path, default=default_out(), metavar="DIR", help="folder for compare.json and compare.png"
    )
    asked = parser.parse_args(argv)
    keep_memory()
    config, models = pick(DataConfig, vars(asked)), [name for name in asked.models.split(",") if name]
    comparison = Comparison(models, asked.budget, asked.seeds, asked.device)
    return run_program("jobs.compare", lambda: run(config, comparison, asked.out))


def run(config: DataConfig, comparison: Comparison, out: Path) -> list[Rung]:
    """Measure, print and plot the models; return the results."""
    from .data import load
    from .models.networks import check_name, check_size
    from .training.distributed import distributed_context

    if not comparison.models:
        raise TrainingError(f"--models names no model; the default is {MODELS}")
    for name in comparison.models:
        check_name(name)
    check_folder(out)
    data = load(config)
    for name in comparison.models:
        check_size(name, data.train.shape)
    say(f"{data.name}: {len(data.train):,} images to train on, {len(data.test):,} to test")
    rungs = []
    say(f"{'model':<20} {'accuracy, 95 %':>17} {'seconds':>9} {'parameters':>12} {'images/s':>10}")
    with distributed_context(comparison.device) as context:
        for name in comparison.models:
            if name in CLOSED_FORM:
                rungs.append(measure_closed_form(name, data, context))
            else:
                rungs.append(measure_trained(name, data, comparison, context))
            say(line(rungs[-1]))
    (out / "compare.json").write_text(json.dumps([asdict(rung) for rung in rungs], indent=2) + "\n")
    draw(out / "compare.png", rungs, data.name)
    say(str(out / "compare.png"))
    return rungs


def measure_closed_form(name: str, data: "Dataset", context: "DistributedContext") -> Rung:
    """Compute a closed-form model; return its accuracy and the time it took."""
    from .models import build, count_parameters
    from .training.closed_form import fit_closed_form

    model = build(name, data)
    began = time.monotonic()
    accuracy = fit_closed_form(model, data, context)
    return Rung(name, (accuracy,), time.monotonic() - began, count_parameters(model), 0.0)


def measure_trained(name: str, data: "Dataset", comparison: Comparison, context: "DistributedContext") -> Rung:
    """Train a model once per seed, each within its share of the time; return accuracy and speed."""
    import torch

    from .models import build, count_parameters
    from .training.fit import fit
    from .training.state import Plan

    accuracies, seconds, images = [], 0.0, 0.0
    recipe = Recipe(lr=default_lr(name, pretrained=False), time_budget_s=comparison.each_s)
    if name in ("linear", "mlp"):
        recipe = replace(recipe, precision="float32")
    for seed in range(comparison.seeds):
        torch.manual_seed(seed)
        model = build(name, data)
        began = time.monotonic()
        epochs = [metrics for metrics, _ in fit(model, Plan(data, replace(recipe, seed=seed), context))]
        seconds += time.monotonic() - began
        accuracies.append(epochs[-1].accuracy)
        images += sum(epoch.images_per_s * epoch.seconds for epoch in epochs)
    return Rung(name, tuple(accuracies), seconds / comparison.seeds, count_parameters(model), images / seconds)


def line(rung: Rung) -> str:
    """Return a model's result as a table row."""
    from .training.evaluation import interval

    speed = f"{rung.images_per_s:,.0f}" if rung.images_per_s else ""
    accuracy = str(interval(rung.accuracies))
    return f"{rung.model:<20} {accuracy:>17} {rung.seconds:>9.1f} {rung.parameters:>12,} {speed:>10}"


def draw(path: Path, rungs: Sequence[Rung], data: str) -> None:
    """Plot accuracies as bars with confidence intervals."""
    from .look.names import shorten
    from .look.plots import BLUE, INK, figure, label_x
    from .training.evaluation import interval

    found = [interval(rung.accuracies) for rung in rungs]
    with figure(path, size=(6.4, 0.8 + 0.5 * len(rungs))) as axis:
        heights = range(len(rungs))[::-1]
        halves = [each.half if each.half == each.half else 0.0 for each in found]
        axis.barh(heights, [each.mean for each in found], xerr=halves, color=BLUE, ecolor=INK, capsize=3)
        for height, each in zip(heights, found, strict=True):
            axis.text(0.01, height, f"{each.mean:.1%}", va="center", color="white" if each.mean > 0.15 else INK)
        axis.set_yticks(list(heights), [f"{rung.model}\n{rung.seconds:.0f} s" for rung in rungs])
        axis.set_xlim(0, 1)
        label_x(axis, f"test accuracy on {shorten(data, 60)}, 95 % interval over seeds")


if __name__ == "__main__":
    main()
