"""From settings to a trained model on disk: what training and fine-tuning share."""

import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from ..config.recipe import Recipe
from ..config.settings import QUICK_IMAGES, Settings
from ..data import Dataset, load
from ..data.splits import split
from ..errors import CheckpointError
from ..look.track import tracking
from ..models import Classifier, build, count_parameters
from ..models.classifier import ClosedForm
from ..models.modelfile import NAME, Facts, load_model, save_model
from ..program import say
from .checkpoint import Checkpoints
from .closed_form import solve
from .distributed import DistributedContext, take_place
from .evaluation import evaluate
from .fit import Metrics, fit
from .lr_find import find_lr
from .stop import Stop, Stopped

Layers = Sequence[tuple[Sequence[nn.Module], float]]
"""Groups of layers that learn, each with its peak rate; the other layers are frozen."""

First = Callable[[Classifier, Dataset, DistributedContext, Recipe], None]
"""What is done to a network before it is trained as a whole."""


def learn(settings: Settings, layers: Callable[[Classifier], Layers], first: First | None = None) -> float:
    """Load, train the layers that `layers` names, if any, write; return the test accuracy.

    Exits with 128 and the signal's number when one ended it. Raises JobsError.
    """
    stop = Stop().listen()
    with take_place(settings.device) as place:
        data = load(replace(settings.config, seed=settings.recipe.seed))
        if settings.quick:
            data = data.shorten(QUICK_IMAGES)
        torch.manual_seed(settings.recipe.seed)
        model = build(settings.model, data, settings.weights, settings.pretrained)
        describe(settings, data, model, place)
        settings.out.mkdir(parents=True, exist_ok=True)
        if settings.lr_find:
            return find_lr(model.to(place.device), data, settings.recipe, settings.out)
        try:
            accuracy = train(settings, data, place, model, layers, first, stop)
        except Stopped as stopped:
            say(f"stopped by signal {stopped.signal}; --resume auto goes on from {settings.out / 'checkpoints'}")
            sys.exit(128 + stopped.signal)
        write_arguments(settings, data, accuracy, place)
        say(f"test accuracy {accuracy:.4f}\n{settings.out / NAME}")
        return accuracy


def describe(settings: Settings, data: Dataset, model: Classifier, place: DistributedContext) -> None:
    """Say what is trained on what, and where."""
    device = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else place.device.type
    size = " x ".join(map(str, data.train.shape))
    say(
        f"{data.name}: {len(data.train):,} images to train on, {len(data.test):,} to test, {size}, {len(data.classes)} "
        f"classes\n{settings.model}: {count_parameters(model):,} parameters on {device}"
        + (f", {place.world} processes" if place.world > 1 else "")
    )


def train(
    settings: Settings,
    data: Dataset,
    place: DistributedContext,
    model: Classifier,
    layers: Callable[[Classifier], Layers],
    first: First | None,
    stop: Stop,
) -> float:
    """Train, keep the model, return its accuracy on the test images."""
    judged = hold_out(data, settings.recipe.seed) if settings.recipe.early_stop else data
    store = Checkpoints(settings.out / "checkpoints", settings.save_every_s)
    resume = find_resume(settings)
    if resume and place.first:
        carry_best(resume, settings.out)
    if resume is None and place.first:
        store.clear()
    if first and resume is None:
        first(model, judged, place, settings.recipe)
    if isinstance(model.net, ClosedForm):
        solve(model, data, place)
    groups = [] if isinstance(model.net, ClosedForm) else layers(model)
    kept, accuracy = model, math.nan
    if groups:
        kept, accuracy = train_layers(settings, data, judged, place, model, groups, store, resume, stop)
    if not groups or judged is not data:
        accuracy = evaluate(kept, data.test, settings.recipe.tta, place)
        write(settings, data, kept, accuracy, place)
    return accuracy


def train_layers(
    settings: Settings,
    data: Dataset,
    judged: Dataset,
    place: DistributedContext,
    model: Classifier,
    groups: Layers,
    store: Checkpoints,
    resume: Path | None,
    stop: Stop,
) -> tuple[Classifier, float]:
    """Return the network to keep, and how well it does on what it was judged by."""
    freeze_others(model, groups)
    modules, peaks = zip(*groups, strict=True)
    recipe = settings.recipe
    epochs = fit(model, judged, recipe, place, layers=modules, peaks=peaks, store=store, resume=resume, stop=stop)
    best, kept = -1.0, model
    with tracking(settings.out, asdict(settings), settings.tensorboard, settings.wandb, place.first) as track:
        for metrics, found in epochs:
            report(metrics, recipe)
            track(asdict(metrics))
            if metrics.accuracy > best or not recipe.early_stop:
                best = metrics.accuracy
                if found is not None:
                    kept = found
                    write(settings, data, found, best, place)
    path = settings.out / NAME
    if recipe.early_stop and path.is_file():
        kept = load_model(path)[0].to(place.device)
    return kept, best


def freeze_others(model: Classifier, groups: Layers) -> None:
    """Let the weights of these layers learn, and no others."""
    learning = {id(p) for modules, _ in groups for module in modules for p in module.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in learning)


def report(metrics: Metrics, recipe: Recipe) -> None:
    """Print an epoch's line."""
    of = f"/{recipe.most_epochs}" if not recipe.time_budget_s else ""
    judged = "validation" if recipe.early_stop else "test"
    say(
        f"epoch {metrics.epoch}{of}  loss {metrics.train_loss:.4f}  {judged} accuracy {metrics.accuracy:.4f}  "
        f"{metrics.images_per_s:,.0f} images/s  {metrics.seconds:.1f} s"
    )


def hold_out(data: Dataset, seed: int) -> Dataset:
    """Return data judged by a tenth of the training images: a test set that decides when to stop is none any more."""
    train, judge = split(data.train.labels.cpu(), 0.1, seed)
    return replace(data, train=data.train.take(train), test=data.train.take(judge))


def find_resume(settings: Settings) -> Path | None:
    """Return the checkpoint to go on from, if one is wished for; raises CheckpointError if it is not there."""
    if not settings.resume:
        return None
    path = settings.out if settings.resume == "auto" else Path(settings.resume)
    folders = [path / "checkpoints", path / "outputs" / "checkpoints", path]
    found = next(filter(None, (Checkpoints(folder).latest() for folder in folders)), None)
    if (path / "state.pt").is_file():
        found = path
    if found:
        say(f"going on from {found}")
    elif settings.resume != "auto":
        raise CheckpointError(f"--resume {path}: no checkpoint there")
    return found


def carry_best(resume: Path, out: Path) -> None:
    """Bring along the best model so far where a run goes on into another folder: an early stop may still keep it."""
    best = resume.parent.parent / NAME  # beside the folder of checkpoints
    if best.is_file() and not (out / NAME).exists():
        shutil.copyfile(best, out / NAME)


def write(settings: Settings, data: Dataset, model: Classifier, accuracy: float, place: DistributedContext) -> None:
    """Write the model, in the first of several processes."""
    facts = Facts(settings.model, data.classes, data.train.shape, data.name, accuracy, settings.recipe.seed)
    if place.first:
        save_model(settings.out / NAME, model, facts)


def write_arguments(settings: Settings, data: Dataset, accuracy: float, place: DistributedContext) -> None:
    """Keep what the run was made from, and what it reached."""
    flat = {**asdict(settings.config), **asdict(settings.recipe), **asdict(settings)}
    facts = {name: value for name, value in flat.items() if name not in ("config", "recipe")} | {
        "device": str(place.device),
        "torch": torch.__version__,
        "data_set": data.name,
        "train_images": len(data.train),
        "epochs": settings.recipe.most_epochs,
        "test_accuracy": accuracy,
    }
    if place.first:
        (settings.out / "args.json").write_text(json.dumps(facts, indent=2, default=str) + "\n")
