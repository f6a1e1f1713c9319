"""The command line of a training program as frozen dataclasses. No torch."""

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..program import Parser, default_out, duration, list_results, number
from .data import DataConfig, is_function
from .recipe import CLOSED_FORM, SMALL, Recipe, add_options, default_lr, pick

QUICK_IMAGES = 6_000
DIGEST = "train_digest"
"""The entry of args.json that identifies the training images; of several folds, a list."""


@dataclass(frozen=True)
class Settings:
    """All options of a run."""

    out: Path
    model: str = "small"
    pretrained: bool = False
    weights: Path | None = None
    partial_weights: bool = False
    device: str = "auto"
    resume: str = ""
    save_every_s: float = 60.0
    quick: bool = False
    lr_find: bool = False
    tensorboard: bool = False
    wandb: bool = False
    own: Mapping[str, Any] = field(default_factory=dict)
    """The program, and the options that only it has."""
    like: Mapping[str, Any] = field(default_factory=dict)
    """The content of args.json of the run to repeat."""
    config: DataConfig = field(default_factory=DataConfig)
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def has_folds(self) -> bool:
        """Whether there is a network to train for each fold, not one."""
        return self.config.folds > 0 and not self.config.fold


def parse(
    argv: Sequence[str] | None,
    name: str,
    about: str,
    recipe: Recipe | None = None,
    own: argparse.ArgumentParser | None = None,
) -> tuple[Settings, argparse.Namespace]:
    """Parse a command line; return the settings and all values, including `own` options.

    User errors print one line and exit with status 2.
    """
    parser = make_parser(name, about, recipe or Recipe(), own)
    parsed = parser.parse_args(argv)
    if like := parsed.like:
        parser.set_defaults(**(kept := read_options(parser, like)))
        if not parsed.label_from and is_function(kept.get("label_from") or ""):
            parser.error(f"--like {like}: its labels come from a function; type --label-from {kept['label_from']} too")
        parsed = parser.parse_args(argv)
        parsed.like = kept
    values = vars(parsed)
    values["like"] = values["like"] or {}
    if values["mixup"] and values["cutmix"]:
        parser.error("--mixup and --cutmix cannot be combined")
    if values["trivial_augment"] and values["rand_augment"]:
        parser.error("--trivial-augment and --rand-augment cannot be combined")
    if values["fold"] > values["folds"]:
        parser.error(f"--fold {values['fold']}: needs --folds {values['fold']} or more")
    if values["lr_find"] and values["folds"] and not values["fold"]:
        parser.error("--lr-find tries rates on one network: add --fold 1")
    values["own"] = {"program": name, **{each.dest: values[each.dest] for each in (own._actions if own else ())}}
    settings = pick(Settings, {**values, "config": pick(DataConfig, values), "recipe": pick(Recipe, values)})
    if settings.quick:
        settings = replace(settings, recipe=replace(settings.recipe, epochs=1))
    return complete(settings), parsed


def make_parser(name: str, about: str, recipe: Recipe, own: argparse.ArgumentParser | None) -> Parser:
    """Return a training program's parser, with a recipe's defaults and the program's `own` options."""
    parents = [own] if own else []
    parser = Parser(name, description=about, epilog="TIME is 90s, 10m or 1h30m.", parents=parents)
    add = parser.add_argument
    add_options(parser, DataConfig())
    known = f"{', '.join((*CLOSED_FORM, *SMALL))}, or a torchvision classifier"
    add("--model", default="small", metavar="MODEL", help=f"{known} (%(default)s)")
    add("--pretrained", action="store_true", help="start from pretrained weights")
    add("--weights", type=Path, metavar="FILE", help="start from weights in a .safetensors or .pth file")
    add(
        "--partial-weights",
        action="store_true",
        help="use --weights even if a tenth of the network or more is missing in them",
    )
    add("--out", type=Path, metavar="DIR", default=default_out(), help="output folder (%(default)s)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="device; auto uses a GPU if available")
    add(
        "--folds",
        type=number(int, 2, 100),
        default=0,
        metavar="N",
        help="cross-validation: divide the images into N parts, and train N networks, each tested on one part",
    )
    add("--fold", type=number(int, 1), default=0, metavar="K", help="train only number K of the --folds, into --out")
    add("--resume", default="", metavar="auto|DIR", help="resume from the latest checkpoint in --out, or from this one")
    add(
        "--save-every",
        dest="save_every_s",
        type=duration,
        default=60.0,
        metavar="TIME",
        help="time between checkpoints (60s)",
    )
    add("--quick", action="store_true", help=f"smoke test: one epoch on {QUICK_IMAGES:,} images")
    add("--lr-find", action="store_true", help="find a learning rate instead of training; writes lr-find.png")
    add("--tensorboard", action="store_true", help="log to TensorBoard")
    add("--wandb", action="store_true", help="log to Weights & Biases (WANDB_MODE=offline: locally only)")
    add(
        "--like",
        type=Path,
        metavar="RUN",
        help="repeat a run: its options are the defaults; bit for bit on the same CPU",
    )
    add_options(parser, recipe)
    return parser


def read_options(parser: argparse.ArgumentParser, run: Path) -> dict[str, Any]:
    """Return the options of a run from its args.json; a run that cannot be read ends the program."""
    found: Any = None
    for folder in list_results(run):
        with suppress(OSError, ValueError):
            found = json.loads((folder / "args.json").read_text())
            break
    if not isinstance(found, dict):
        parser.error(f"--like {run}: no args.json there; expected the folder of a finished run")
    if found.get("program") != parser.prog:
        parser.error(f"--like {run}: written by {found.get('program') or 'another program'}, not by {parser.prog}")
    here = {"out", "device", "resume", "like", "help"}
    kinds = {action.dest: action.type for action in parser._actions if action.dest not in here}
    kept = {name: value for name, value in found.items() if name in kinds}
    for name in kept:
        if kinds[name] is Path and kept[name] is not None:
            kept[name] = Path(kept[name])
    if isinstance(kept.get("range"), list):
        kept["range"] = tuple(kept["range"])
    return {**kept, DIGEST: found.get(DIGEST)}


def complete(settings: Settings) -> Settings:
    """Return settings with the model's default learning rate if none was given."""
    if settings.recipe.lr is not None:
        return settings
    lr = default_lr(settings.model, settings.pretrained or settings.weights is not None)
    if settings.recipe.optimizer == "sgd":
        lr *= 10
    return replace(settings, recipe=replace(settings.recipe, lr=lr))
