"""From settings to a trained model on disk: what training and fine-tuning share."""

import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

import torch

from ..config.recipe import Recipe
from ..config.settings import DIGEST, QUICK_IMAGES, Settings
from ..data import Dataset, load
from ..data.parts import write_parts
from ..data.splits import split
from ..errors import CheckpointError, DataError
from ..look.track import Track, check_packages, tracking
from ..models import Classifier, build, count_parameters
from ..models.classifier import ClosedForm
from ..models.modelfile import NAME, Facts, load_model, save_model
from ..models.networks import check_name, check_pretrained, check_size, fixed_size
from ..models.timm_models import is_timm, timm_interpolation
from ..optim.optimizers import LayerGroup
from ..optim.precision import Execution
from ..program import check_folder, say
from ..tasks import check_request as check_task
from ..tasks.task import write_figures
from .checkpoint import OF_HEAD, Checkpoints, copy_best, find_checkpoint, is_whole
from .closed_form import fit_closed_form
from .distributed import DistributedContext, distributed_context
from .evaluation import measure
from .fit import Metrics, choose_execution, fit, uses_batch_statistics
from .lr_find import find_lr
from .state import Plan
from .stop import Stop, Stopped, listening

VALIDATION = 1_000_003
"""Added to the seed: with the test split's own draws, no image below its share would be left to hold out."""

ChooseLayers = Callable[[Classifier], Sequence[LayerGroup]]
"""Which layers are trained, each group at its own peak rate; the others are frozen."""

Prepare = Callable[[Classifier, Plan], None]
"""Preparation of a network before it is trained as a whole; it resumes from the plan's checkpoint if there is one."""


@dataclass(frozen=True)
class Training:
    """One training run: its settings, what they resolved to, and its stop signal."""

    settings: Settings
    data: Dataset
    model: Classifier
    context: DistributedContext
    stop: Stop
    began: datetime = field(default_factory=lambda: datetime.now().astimezone())

    @property
    def checkpoints(self) -> Checkpoints:
        """Where checkpoints are saved."""
        return Checkpoints(self.settings.out / "checkpoints", self.settings.save_every_s)


def train(settings: Settings, choose_layers: ChooseLayers, prepare: Prepare | None = None) -> float:
    """Load the data, train, write the model; return its test accuracy, or what leads in another task.

    Exits with 128 plus the signal's number if a signal stopped it. Raises JobsError.
    """
    with listening() as stop, distributed_context(settings.device) as context:
        training = set_up(settings, context, stop)
        model = training.model
        if settings.lr_find:
            if prepare:
                prepare(model, Plan(training.data, settings.recipe, context))
            groups = choose_layers(model)
            return find_lr(model.to(context.device), training.data, settings.recipe, settings.out, groups)
        try:
            if isinstance(model.net, ClosedForm):
                figures, execution = fit_closed_form(model, training.data, context), None
                write_model(training, model, figures)
            else:
                figures, execution = train_by_steps(training, choose_layers, prepare)
        except Stopped as stopped:
            say(f"stopped by signal {stopped.signal}; --resume auto continues from {training.checkpoints.folder}")
            sys.exit(128 + stopped.signal)
        write_arguments(training, figures, execution)
        say(f"test {write_figures(figures)}\n{settings.out / NAME}")
        return figures[model.task.lead]


def check_request(settings: Settings) -> None:
    """Raise JobsError for what cannot work, before images are read, which may take longer."""
    check_name(settings.model)
    check_task(settings.config.task, settings.model, settings.recipe)
    if settings.pretrained and not settings.weights:
        check_pretrained(settings.model)
    if settings.weights and not settings.weights.is_file():
        raise CheckpointError(f"--weights {settings.weights}: no such file")
    if settings.resume not in ("", "auto"):
        find_checkpoint(settings.resume, settings.out)
    check_packages(settings.tensorboard, settings.wandb)
    check_folder(settings.out)


def set_up(settings: Settings, context: DistributedContext, stop: Stop) -> Training:
    """Load the data and build the network; print a summary."""
    check_request(settings)
    config = replace(settings.config, seed=settings.recipe.seed)
    own = timm_interpolation(settings.model) if is_timm(settings.model) else "bilinear"
    config = replace(
        config,
        size=config.size or fixed_size(settings.model, settings.pretrained),
        interpolation=config.interpolation or own,
    )
    data = load(config)
    if settings.quick:
        data = data.shorten(QUICK_IMAGES)
    check_size(settings.model, data.shape)
    torch.manual_seed(settings.recipe.seed)
    model = build(settings.model, data, settings.weights, settings.pretrained, settings.partial_weights)
    device = torch.cuda.get_device_name(context.device) if context.device.type == "cuda" else context.device.type
    size = " x ".join(map(str, data.shape))
    asked = asdict(replace(settings.config, seed=settings.recipe.seed))
    repeats = settings.like and all(settings.like.get(name, value) == value for name, value in asked.items())
    if repeats and data.identity["digest"] != settings.like.get(DIGEST):
        raise DataError(f"--like: the training images or their classes have changed since that run ({data.name})")
    say(
        f"{data.name}: {len(data.train):,} images to train on, {len(data.test):,} to test, {size}, "
        f"{data.task.about(data.classes)}\n{settings.model}: {count_parameters(model):,} parameters on {device}"
        + (f", {context.world} processes" if context.world > 1 else "")
    )
    return Training(settings, data, model, context, stop)


def train_by_steps(
    training: Training, choose_layers: ChooseLayers, prepare: Prepare | None
) -> tuple[dict[str, float], Execution | None]:
    """Train the chosen layers and write the model; return its figures, and how it was computed."""
    settings, recipe, context = training.settings, training.settings.recipe, training.context
    groups = choose_layers(training.model)
    execution: Execution | None = None
    begun = find_resume(training)
    prepared = None if begun and is_whole(begun) else begun
    if prepared and not prepare:
        raise CheckpointError(f"{prepared}: {OF_HEAD}")
    data = hold_out(training.data, recipe.seed) if recipe.early_stop else training.data
    tracks = groups and context.first
    with tracking(settings.out, asdict(settings), settings.tensorboard, settings.wandb, bool(tracks)) as track:
        kept = training.model
        plan = Plan(data, recipe, context, groups, training.checkpoints, None if prepared else begun, training.stop)
        if prepare and not (groups and plan.resume):
            prepare(training.model, replace(plan, resume=prepared))
        if groups:
            freeze_others(training.model, groups)
            explain_accumulation(training.model, plan)
            execution = choose_execution(training.model, plan)
            kept, figures = fit_and_keep(training, replace(plan, execution=execution), track)
            if not recipe.early_stop:
                return figures, execution
    figures = measure(kept, training.data.test, recipe.tta, context)
    write_model(training, kept, figures)
    return figures, execution


def explain_accumulation(model: Classifier, plan: Plan) -> None:
    """Say so if micro-batches change what is computed: for batch norm a step is not one large batch."""
    some = plan.batch // plan.context.world // plan.recipe.accumulate
    if plan.recipe.accumulate > 1 and uses_batch_statistics(model):
        say(f"--accumulate {plan.recipe.accumulate}: batch norm sees {max(2, some)} images at a time, not {plan.batch}")


def fit_and_keep(training: Training, plan: Plan, track: Track) -> tuple[Classifier, dict[str, float]]:
    """Train as planned, saving the network to keep after each epoch; return it and its figures.

    That is the last network or, with early stopping, the best.
    """
    best, kept, figures = -math.inf, training.model, {}
    for metrics, network in fit(training.model, plan):
        say(describe(metrics, plan.recipe))
        track(metrics.logged)
        if metrics.score > best or not plan.recipe.early_stop:
            best, figures = metrics.score, metrics.figures
            if network is not None:
                kept = network
                write_model(training, kept, figures)
    if plan.recipe.early_stop and (training.settings.out / NAME).is_file():
        kept = load_model(training.settings.out / NAME)[0].to(plan.context.device)
    return kept, figures


def freeze_others(model: Classifier, groups: Sequence[LayerGroup]) -> None:
    """Freeze all weights except those of these layers."""
    learning = {id(p) for group in groups for p in group.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in learning)


def describe(metrics: Metrics, recipe: Recipe) -> str:
    """Return an epoch's log line."""
    of = f"/{recipe.most_epochs}" if not recipe.time_budget_s else ""
    images = "validation" if recipe.early_stop else "test"
    return (
        f"epoch {metrics.epoch}{of}  loss {metrics.train_loss:.4f}  {images} {write_figures(metrics.figures)}  "
        f"{metrics.images_per_s:,.0f} images/s  {metrics.seconds:.1f} s"
    )


def hold_out(data: Dataset, seed: int) -> Dataset:
    """Hold out a tenth of the training images: the test images must not decide when to stop."""
    known = data.train
    train, validation = split(data.task.strata(known.labels.cpu()), 0.1, seed + VALIDATION, known.units, known.grouped)
    held = replace(data, train=known.take(validation))  # tested at the size that a network receives
    return replace(data, train=known.take(train), test=held.scale_train())


def find_resume(training: Training) -> Path | None:
    """Return the checkpoint to resume from; without one, remove those of an earlier run.

    Raises CheckpointError if the requested one does not exist.
    """
    resume = find_checkpoint(training.settings.resume, training.settings.out)
    if resume:
        say(f"resuming from {resume}")
    if training.context.first:
        if resume:
            copy_best(resume, training.settings.out / NAME)
        else:
            training.checkpoints.clear()
    return resume


def write_model(training: Training, model: Classifier, figures: dict[str, float]) -> None:
    """Write the model, from the first process only."""
    settings, data = training.settings, training.data
    facts = Facts(
        settings.model,
        data.classes,
        data.shape,
        data.name,
        figures[model.task.lead],
        settings.recipe.seed,
        data.levels,
        data.square.resize,
        data.square.interpolation,
        model.task,
    )
    if training.context.first:
        write_parts(settings.out, data)
        save_model(settings.out / NAME, model, facts)


def write_arguments(training: Training, figures: dict[str, float], execution: Execution | None) -> None:
    """Write args.json: the run's settings, with measured choices resolved, and its figures."""
    settings = training.settings
    flat = {**asdict(settings.config), **asdict(settings.recipe), **asdict(settings)}
    chosen = asdict(execution) if execution else {}
    facts = {name: value for name, value in flat.items() if name not in ("config", "recipe", "like", "own")} | {
        **settings.own,
        **chosen,
        "device": str(training.context.device),
        "torch": torch.__version__,
        "data_set": training.data.name,
        "train_images": len(training.data.train),
        "test_images": len(training.data.test),
        DIGEST: training.data.identity["digest"],
        "epochs": settings.recipe.most_epochs,
        "task": training.data.task.name,
        **{f"test_{name}": value for name, value in figures.items()},
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "commit": os.environ.get("GPUJOB_COMMIT", ""),
        "started": training.began.isoformat(sep=" ", timespec="seconds"),
        "seconds": round((datetime.now().astimezone() - training.began).total_seconds(), 1),
    }
    if training.context.first:
        (settings.out / "args.json").write_text(json.dumps(facts, indent=2, default=str) + "\n")
