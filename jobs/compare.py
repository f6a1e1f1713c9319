"""Compare models: what each step beyond a simple baseline gains, and what it costs.

`python -m jobs.compare --data fashion-mnist --budget 2m` gives each trained model the same share of the time, over several
seeds, and writes compare.json and compare.png. It begins with a hand-written rule;
`--pretrained MODEL` ends it with a network that other images taught before.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.data import SINGLE, DataConfig
from .config.recipe import CLOSED_FORM, add_options, pick
from .errors import TrainingError
from .program import Parser, check_folder, default_out, duration, keep_memory, number, run_program, say

if TYPE_CHECKING:
    from .ladder import Rung

MODELS = "rule,majority,mean-image,linear,mlp,lenet,resnet9"


@dataclass(frozen=True)
class Comparison:
    """Which models to compare, and how."""

    models: Sequence[str]
    budget_s: float
    """For all training runs together."""
    seeds: int
    """Training runs per model."""
    device: str = "auto"
    pretrained: str = ""
    """A network to start from pretrained weights, last of all; "" for none."""
    weights: Path | None = None
    """Its weights; by default the published ones."""
    rule: str | None = None
    """The user's own rule as FILE.py:FUNCTION, first of all."""

    @property
    def each_s(self) -> float:
        """The time for each training run."""
        trained = sum(name not in CLOSED_FORM for name in self.models) + bool(self.pretrained)
        return self.budget_s / max(1, trained * self.seeds)


def main(argv: Sequence[str] | None = None) -> "list[Rung]":
    """Run the program and return the ladder; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.compare", description="Compare models on the same data in the same time.")
    add = parser.add_argument
    add_options(parser, DataConfig())
    add("--models", default=MODELS, metavar="A,B,...", help="models, in display order (%(default)s)")
    add("--pretrained", default="", metavar="MODEL", help="also fine-tune this one: its last layer, then all layers")
    add("--weights", type=Path, metavar="FILE", help="the weights of --pretrained (default: the published ones)")
    add(
        "--rule", metavar="FILE.py:NAME", help="your own rule, first of all: a function of an image's path to its class"
    )
    add("--budget", dest="budget_s", type=duration, default=120.0, metavar="TIME", help="total training time (2m)")
    add("--seeds", type=number(int, 1), default=3, metavar="N", help="training runs per model (%(default)s)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="device to train on")
    add("--out", type=Path, default=default_out(), metavar="DIR", help="folder for compare.json and compare.png")
    asked = vars(parser.parse_args(argv))
    keep_memory()
    asked["models"] = [name for name in asked["models"].split(",") if name]
    config, comparison = pick(DataConfig, asked), pick(Comparison, asked)
    return run_program("jobs.compare", lambda: run(config, comparison, asked["out"]))


def run(config: DataConfig, comparison: Comparison, out: Path) -> "list[Rung]":
    """Measure, print and plot the models; return the results."""
    from .data import load
    from .ladder import measure_closed_form, measure_rule, measure_trained, measure_transfer
    from .training.distributed import distributed_context

    check_request(comparison, config)
    check_folder(out)
    data = load(config)
    names = [*comparison.models, *([comparison.pretrained] if comparison.pretrained else [])]
    check_sizes(names, data.shape)
    say(f"{data.name}: {len(data.train):,} images to train on, {len(data.test):,} to test; intervals of 95%")
    say(f"{'model':<27} {'accuracy':>8} {'interval':>15} {'gain':>7} {'interval':>15} {'s':>6} {'parameters':>11}")
    rungs: list[Rung] = []

    def add(rung: "Rung") -> None:
        rungs.append(rung)
        say(line(rung, rungs[-2] if len(rungs) > 1 else None))

    with distributed_context(comparison.device) as context:
        if comparison.rule:
            add(measure_rule(comparison.rule, data))
        for name in comparison.models:
            if name in CLOSED_FORM:
                add(measure_closed_form(name, data, context))
            else:
                add(measure_trained(name, data, context, comparison.seeds, comparison.each_s))
        for each_s in (0.0, comparison.each_s) if comparison.pretrained else ():
            start = (comparison.pretrained, comparison.weights)
            add(measure_transfer(start, data, context, comparison.seeds, each_s))
    facts = [describe(rung, before) for before, rung in zip([None, *rungs], rungs, strict=False)]
    (out / "compare.json").write_text(json.dumps(facts, indent=2) + "\n")
    draw(out / "compare.png", rungs, data.name)
    say(str(out / "compare.png"))
    return rungs


def check_request(comparison: Comparison, config: DataConfig) -> None:
    """Raise TrainingError for what cannot work, before images are read."""
    from .models.networks import check_name, check_pretrained

    if config.task != SINGLE:
        raise TrainingError(f"jobs.compare is for one class for each image, not for --{config.task}")
    if not comparison.models:
        raise TrainingError(f"--models names no model; the default is {MODELS}")
    for name in comparison.models:
        check_name(name)
    if comparison.pretrained:
        check_name(comparison.pretrained)
        if not comparison.weights:
            check_pretrained(comparison.pretrained)
    elif comparison.weights:
        raise TrainingError("--weights are those of --pretrained MODEL; add that")


def check_sizes(names: Sequence[str], shape: tuple[int, int, int]) -> None:
    """Raise TrainingError if a model cannot take the images."""
    from .models.networks import check_size

    for name in names:
        check_size(name, shape)


def describe(rung: "Rung", before: "Rung | None") -> dict[str, Any]:
    """Return a rung as plain values, with its gain over the one before it."""
    gain = rung.gain(before) if before else None
    return {
        "model": rung.model,
        "accuracy": rung.interval.value,
        "interval": [rung.interval.low, rung.interval.high],
        "accuracies": list(rung.accuracies),
        "gain": gain.value if gain else None,
        "gain_interval": [gain.low, gain.high] if gain else None,
        "seconds": rung.seconds,
        "parameters": rung.parameters,
        "images_per_s": rung.images_per_s,
    }


def line(rung: "Rung", before: "Rung | None") -> str:
    """Return a model's result as a table row."""
    found = rung.interval
    gain = gained = ""
    if before:
        more = rung.gain(before)
        gain, gained = f"{more.value:+.1%}", f"{more.low:+.1%}..{more.high:+.1%}"
    within = f"{found.low:.1%}..{found.high:.1%}"
    return (
        f"{rung.model:<27} {found.value:>8.1%} {within:>15} {gain:>7} {gained:>15} {rung.seconds:>6.1f} "
        f"{rung.parameters:>11,}"
    )


def draw(path: Path, rungs: "Sequence[Rung]", data: str) -> None:
    """Plot accuracies as bars with their intervals over the test images."""
    from .look.names import shorten
    from .look.plots import BLUE, INK, figure, label_x

    found = [rung.interval for rung in rungs]
    with figure(path, size=(6.4, 0.8 + 0.5 * len(rungs))) as axis:
        heights = range(len(rungs))[::-1]
        sides = [[each.value - each.low for each in found], [each.high - each.value for each in found]]
        axis.barh(heights, [each.value for each in found], xerr=sides, color=BLUE, ecolor=INK, capsize=3)
        for height, each in zip(heights, found, strict=True):
            axis.text(0.01, height, f"{each.value:.1%}", va="center", color="white" if each.value > 0.15 else INK)
        axis.set_yticks(list(heights), [f"{rung.model}\n{rung.seconds:.0f} s" for rung in rungs])
        axis.set_xlim(0, 1)
        label_x(axis, f"accuracy on {shorten(data, 60)}, 95% interval over the test images")


if __name__ == "__main__":
    main()
