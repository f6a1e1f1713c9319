"""The training loop."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ..config.recipe import Recipe
from ..data import Dataset, Split
from ..data.augment import Draws, change, draws, mix, shrink
from ..data.batches import batches
from ..errors import TrainingError
from ..models import Classifier
from ..optim.precision import Execution, choose
from ..optim.schedule import progress, set_rates
from .checkpoint import Checkpoints, load_checkpoint
from .distributed import DistributedContext, share_norms
from .evaluation import evaluate
from .state import Run, begin
from .stop import Stop, Stopped

LOOK_EVERY = 50
"""Steps between two looks at the losses; each look waits for the device."""


@dataclass(frozen=True)
class Metrics:
    """One epoch: mean training loss, accuracy on what it is judged by (0 to 1), speed and time of the training alone."""

    epoch: int
    train_loss: float
    accuracy: float
    images_per_s: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What stays the same from the first step to the last."""

    recipe: Recipe
    place: DistributedContext
    batch: int
    """Images a step, over all processes."""
    steps: int
    """Steps an epoch."""
    classes: int
    store: Checkpoints | None
    stop: Stop

    def progress(self, run: Run) -> float:
        """Return how far the run is, from 0 to 1, the same in all processes."""
        steps = self.steps * self.recipe.most_epochs
        return self.place.agree(progress(self.recipe, run.step, steps, run.clock.read()))

    def is_over(self, run: Run) -> bool:
        """Return whether a run has done all its steps, has used up its time or has stopped to gain."""
        return self.progress(run) >= 1 or too_long_without_gain(run.history, self.recipe.early_stop)


def fit(
    model: Classifier,
    data: Dataset,
    recipe: Recipe,
    place: DistributedContext,
    *,
    layers: Sequence[Sequence[nn.Module]] = (),
    peaks: Sequence[float] = (),
    store: Checkpoints | None = None,
    resume: Path | None = None,
    stop: Stop | None = None,
) -> Iterator[tuple[Metrics, Classifier | None]]:
    """Train `model` in place, yielding after each epoch what it reached and the network to keep.

    `layers` are groups with their `peaks` of the rate, else all weights share `recipe.lr`. A run that is resumed yields
    the figures of its earlier epochs first, without a network. Raises TrainingError, CheckpointError, Stopped.
    """
    model.to(place.device)
    train = data.train.to(place.device) if place.has_room(data.train.size_bytes) else data.train
    batch = min(recipe.batch_size, len(train)) // place.world * place.world
    if batch < 2:
        raise TrainingError(f"{len(train)} images are too few to train on")
    # The incomplete batch at the end of an epoch is left out.
    plan = Plan(recipe, place, batch, len(train) // batch, len(data.classes), store, stop or Stop())
    run = prepare(model, train, plan, layers or [[model]], peaks or [recipe.lr], resume)
    if run.ended and not plan.is_over(run):  # more is wished for now
        run.ended, run.step = False, len(run.history) * plan.steps
    asked = parallel(run, plan)
    for entry in run.history:
        whole = run.ended and entry is run.history[-1]
        yield Metrics(**entry), run.judged if whole else None  # type: ignore[arg-type]
    while not run.ended:
        before = run.step
        seconds = train_epoch(run, asked, train, plan)
        count = run.step - len(run.history) * plan.steps
        loss = mean_loss(run.losses[:count], run.step - count)
        accuracy = evaluate(run.judged, data.test, recipe.tta, place)
        speed = (run.step - before) * batch / max(seconds, 1e-9)
        metrics = Metrics(len(run.history) + 1, loss, accuracy, speed, run.epoch_s + seconds)
        run.history.append(asdict(metrics))
        run.ended = plan.is_over(run)
        run.losses.zero_()
        run.epoch_s = 0.0
        if run.ended and store and place.first:
            run.save(store, recipe, 0.0)
        yield metrics, run.judged


def prepare(
    model: Classifier,
    train: Split,
    plan: Plan,
    layers: Sequence[Sequence[nn.Module]],
    peaks: Sequence[float],
    resume: Path | None,
) -> Run:
    """Return a run at its start, or where the checkpoint `resume` left it."""
    found = load_checkpoint(resume) if resume else None
    if found:
        execution = Execution(**found[1]["execution"])
    else:
        images, labels = next(
            batches(train, torch.arange(plan.batch // plan.place.world), plan.batch, plan.place.device)
        )
        execution = choose(model, images, labels, plan.recipe)
    model.to(memory_format=execution.format)
    if plan.place.world > 1:
        share_norms(model)
    run = begin(model, plan.recipe, execution, plan.steps, layers, peaks)
    if found:
        run.restore(*found, plan.recipe)
    return run


def parallel(run: Run, plan: Plan) -> nn.Module:
    """Return what the loop asks: the network, compiled if wished, its gradients shared between the processes."""
    asked: nn.Module = torch.compile(run.model) if plan.recipe.compile else run.model  # type: ignore[assignment]
    if plan.place.world > 1:
        device = plan.place.device
        asked = DistributedDataParallel(asked, device_ids=[device.index] if device.type == "cuda" else None)
    return asked


def train_epoch(run: Run, asked: nn.Module, train: Split, plan: Plan) -> float:
    """Train from where the run is to the end of its epoch, or of its time; return the seconds that it took."""
    epoch, share, place = len(run.history), plan.batch // plan.place.world, plan.place
    first = run.step - epoch * plan.steps
    started = saved = time.monotonic()
    train_mode(run.model)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(plan.recipe.seed * 10_007 + epoch))
    mine = order[: plan.steps * plan.batch].view(plan.steps, place.world, share)[first:, place.rank].flatten()
    for at, (images, labels) in enumerate(batches(train, mine, share, place.device), first):
        done = plan.progress(run)
        if done >= 1:
            break
        set_rates(run.optimizer, plan.recipe, done)
        draw = draws(plan.recipe.seed, run.step, plan.batch, place.rank, place.world)
        run.losses[at] = take_step(run, asked, images, labels, plan, draw, done)
        run.step += 1
        asked_to_stop = int(place.agree(plan.stop.asked))
        due = plan.store and time.monotonic() - saved > plan.store.every_s
        if at % LOOK_EVERY == 0 or asked_to_stop or due:
            mean_loss(run.losses[: at + 1], epoch * plan.steps)  # what is broken is never saved
        if plan.store and place.first and (asked_to_stop or due):
            saved = time.monotonic()
            run.save(plan.store, plan.recipe, run.epoch_s + saved - started)
        if asked_to_stop:
            raise Stopped(asked_to_stop)
    if place.device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - started


def take_step(
    run: Run, asked: nn.Module, images: Tensor, labels: Tensor, plan: Plan, draw: Draws, done: float
) -> Tensor:
    """Adjust the weights to one batch; return its loss. Raises TrainingError where the device has no memory for it."""
    recipe = plan.recipe
    # Dropout draws from torch's own numbers: a function of seed, step and process, as everything else.
    torch.manual_seed(int(torch.randint(2**62, (), generator=draw.generator)) + draw.rows.start)
    run.optimizer.zero_grad()
    images, targets = prepare_batch(images, labels, plan, draw, done)
    total = torch.zeros((), device=images.device)
    parts = min(recipe.accumulate, len(images))
    try:
        for some, wanted in zip(images.chunk(parts), targets.chunk(parts), strict=True):
            with run.execution.autocast(images.device):
                logits = asked(some)
            loss = cross_entropy(logits.float(), wanted, label_smoothing=recipe.label_smoothing)
            loss = loss * (len(some) / len(images))
            run.scaler.scale(loss).backward()
            total += loss.detach()
    except torch.cuda.OutOfMemoryError as error:
        half = max(2, recipe.batch_size // 2)
        raise TrainingError(
            f"the device has no memory for {recipe.batch_size} images a step: try --batch-size {half} "
            f"or --accumulate {2 * recipe.accumulate}"
        ) from error
    if recipe.clip:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average:
        run.average.update(run.model, run.step)
    return total


def prepare_batch(images: Tensor, labels: Tensor, plan: Plan, draw: Draws, done: float) -> tuple[Tensor, Tensor]:
    """Return what the network is shown and what it is to say: classes (N,), or shares of them (N, classes)."""
    images, targets = change(images, plan.recipe, draw), labels
    if plan.recipe.mixup or plan.recipe.cutmix:
        images, targets = mix(images, labels, plan.classes, plan.recipe, draw)
    if plan.recipe.progressive:
        images = shrink(images, done, plan.recipe.progressive)
    return images, targets


def train_mode(model: nn.Module) -> None:
    """Put a network into training, but for norms whose weights are frozen: they keep their statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
            p.requires_grad for p in module.parameters()
        ):
            module.eval()


def mean_loss(losses: Tensor, before: int) -> float:
    """Return the mean loss; raises TrainingError that names the first step whose loss is no number."""
    mean = losses.mean().item() if len(losses) else math.nan
    if len(losses) and not math.isfinite(mean):
        bad = int((~losses.isfinite()).nonzero()[0])
        raise TrainingError(
            f"the loss of step {before + bad + 1} is {losses[bad].item()}: try a lower --lr or --clip 1"
        )
    return mean


def too_long_without_gain(history: Sequence[dict[str, float]], epochs: int) -> bool:
    """Return whether none of the last `epochs` epochs was better than the best before them."""
    scores = [entry["accuracy"] for entry in history]
    return 0 < epochs < len(scores) and max(scores[-epochs:]) <= max(scores[:-epochs])
