"""The training loop."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.parallel import DistributedDataParallel

from ..augment.changes import change, mix, shrink
from ..augment.draws import Draws, draws
from ..config.recipe import Recipe
from ..data import Split
from ..data.batches import batches
from ..data.decoders import Decoders
from ..errors import TrainingError
from ..models import Classifier
from ..optim.optimizers import LayerGroup
from ..optim.precision import Execution, choose
from ..optim.runtime import Network, start_with
from ..optim.schedule import set_rates
from ..program import say
from .checkpoint import load_checkpoint, load_state
from .distributed import share_norms
from .evaluation import measure
from .state import Plan, Run, begin
from .stop import Stopped


@dataclass(frozen=True)
class Metrics:
    """One epoch: mean training loss, the figures of the test, speed and pure training time."""

    epoch: int
    train_loss: float
    figures: dict[str, float]
    """By name, such as the accuracy (0 to 1)."""
    score: float
    """The figure to improve, so that more is better: the accuracy, or what the task has instead."""
    images_per_s: float
    seconds: float

    @property
    def logged(self) -> dict[str, float]:
        """What is logged: each figure by its own name."""
        named = {name: value for name, value in asdict(self).items() if name not in ("figures", "score")}
        return {**named, **self.figures}


def fit(model: Classifier, plan: Plan) -> Iterator[tuple[Metrics, Classifier | None]]:
    """Train `model` in place; yield each epoch's metrics and the network to keep.

    A resumed run first yields the metrics of its earlier epochs, without a network. Raises TrainingError,
    CheckpointError, Stopped.
    """
    execution = plan.execution or choose_execution(model, plan)
    context = plan.context
    train, test = (
        each.to(context.device) if context.has_room(each.size_bytes) else each
        for each in (plan.data.train, plan.data.test)
    )
    run = prepare(model, plan, execution)
    if run.ended and not plan.is_over(run):  # resumed with more epochs
        run.ended, run.step = False, len(run.history) * plan.steps
    network = wrap(run.model, plan, execution.runtime)
    run.saved_s = time.monotonic()
    for entry in run.history:
        complete = run.ended and entry is run.history[-1]
        yield Metrics(**entry), run.result if complete else None
    with Decoders(context.device) as decoders:
        while not run.ended:
            before = run.step
            seconds = train_epoch(run, network, train, plan, decoders)
            count = run.step - len(run.history) * plan.steps
            loss = mean_loss(run.losses[:count], run.step - count)
            figures = measure(run.result, test, plan.recipe.tta, context, decoders=decoders)
            speed = (run.step - before) * plan.batch / max(seconds, 1e-9)
            score = plan.data.task.score(figures)
            metrics = Metrics(len(run.history) + 1, loss, figures, score, speed, run.epoch_s + seconds)
            run.history.append(asdict(metrics))
            run.ended = plan.is_over(run)
            run.losses.zero_()
            run.epoch_s = 0.0
            if run.ended and context.first:
                run.save(plan, 0.0)
            yield metrics, run.result


def train_epoch(run: Run, network: Network, train: Split, plan: Plan, decoders: Decoders) -> float:
    """Train to the end of the epoch or of the time budget; return the duration in seconds.

    Nothing in it waits for a GPU, which works on the steps before: losses stay there until the epoch or a checkpoint.
    """
    context, store = plan.context, plan.store
    start = len(run.history) * plan.steps
    steps = range(run.step, start + plan.steps)
    started = time.monotonic()
    train_mode(run.model)
    fed = batches(train, shuffle(run, len(train), plan), plan.batch // context.world, context.device, decoders)
    chances = draws(plan.recipe.seed, steps, plan.batch, context.device, context.rank, context.world)
    for step, (images, labels), draw in zip(steps, fed, chances, strict=True):
        done = plan.progress(run)
        if done >= 1:
            break
        set_rates(run.optimizers, plan.recipe, done)
        # Dropout uses torch's own random numbers: like all others, a function of seed, step and process.
        torch.manual_seed(draw.step.getrandbits(62) + context.rank)
        run.losses[step - start] = take_step(run, network, *prepare_batch(images, labels, plan, draw, done), plan)
        run.step += 1
        asked_to_stop = int(context.agree(plan.stop.asked))
        if store and (asked_to_stop or time.monotonic() - run.saved_s > store.every_s):
            run.saved_s = time.monotonic()
            mean_loss(run.losses[: run.step - start], start)  # never save a diverged state
            if context.first:
                run.save(plan, run.epoch_s + run.saved_s - started)
        if asked_to_stop:
            raise Stopped(asked_to_stop)
    if context.device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - started


def shuffle(run: Run, count: int, plan: Plan) -> Tensor:
    """Return the images that this process still has to train on in this epoch, by seed and epoch."""
    epoch, context = len(run.history), plan.context
    draw = torch.Generator().manual_seed(plan.recipe.seed * 10_007 + epoch)
    order = torch.randperm(count, generator=draw)[: plan.steps * plan.batch]
    shares = order.view(plan.steps, context.world, plan.batch // context.world)
    return shares[run.step - epoch * plan.steps :, context.rank].flatten()


def prepare_batch(images: Tensor, labels: Tensor, plan: Plan, draw: Draws, done: float) -> tuple[Tensor, Tensor]:
    """Return augmented images and their targets: labels, or shares of mixed images (N, classes)."""
    images, targets = change(images, plan.recipe, draw, plan.data.shape[-1]), labels
    if plan.recipe.mixup or plan.recipe.cutmix:
        images, targets = mix(images, plan.data.task.shares(labels, len(plan.data.classes)), plan.recipe, draw)
    if plan.recipe.progressive:
        images = shrink(images, done, plan.recipe.progressive)
    return images, targets


def take_step(run: Run, network: Network, images: Tensor, targets: Tensor, plan: Plan) -> Tensor:
    """Train on one batch; return its loss. Raises TrainingError if memory runs out."""
    recipe = plan.recipe
    for optimizer in run.optimizers:
        optimizer.zero_grad()
    total = torch.zeros((), device=images.device)
    pieces = max(1, min(recipe.accumulate, len(images) // 2))  # batch norm needs two images
    try:
        for some, wanted in zip(images.tensor_split(pieces), targets.tensor_split(pieces), strict=True):
            with run.execution.autocast(images.device):
                logits = network(some)
            loss = plan.data.task.loss(logits.float(), wanted, plan.class_weights, recipe.label_smoothing)
            loss = loss * (len(some) / len(images))
            run.scaler.scale(loss).backward()
            total += loss.detach()
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError(explain_memory(run.model, recipe, len(images))) from error
    update(run, recipe.clip)
    return total


def explain_memory(model: nn.Module, recipe: Recipe, count: int) -> str:
    """Return what to try if memory runs out at `count` images per step in this process."""
    at_once = -(-count // max(1, min(recipe.accumulate, count // 2)))
    said = f"out of memory at {at_once} images at once"
    half = max(2, recipe.batch_size // 2)
    if at_once <= 2:
        return f"{said}: try a smaller --size or --model"
    if at_once <= 3:
        return f"{said}: try --batch-size {half}"
    norms = f"; batch norm then sees {at_once // 2} images at a time" if uses_batch_statistics(model) else ""
    return f"{said}: try --accumulate {2 * recipe.accumulate} (the same steps{norms}) or --batch-size {half}"


def update(run: Run, clip: float) -> None:
    """Update the weights, with gradients clipped to `clip` unless it is 0."""
    if clip:
        for optimizer in run.optimizers:
            run.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), clip)
    for optimizer in run.optimizers:
        run.scaler.step(optimizer)
    run.scaler.update()
    if run.average:
        run.average.update_parameters(run.model)


def train_mode(model: nn.Module) -> None:
    """Set training mode, except for frozen norms, which keep their statistics."""
    model.train()
    for norm in batch_norms(model):
        if not any(p.requires_grad for p in norm.parameters()):
            norm.eval()


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """Return the batch norms of a network."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def uses_batch_statistics(model: nn.Module) -> bool:
    """Return whether training depends on which images are in a batch together, by batch norm."""
    return any(p.requires_grad for norm in batch_norms(model) for p in norm.parameters())


def mean_loss(losses: Tensor, before: int) -> float:
    """Return the mean loss. Raises TrainingError naming the first step with a non-finite loss."""
    mean = losses.mean().item() if len(losses) else math.nan
    if len(losses) and not math.isfinite(mean):
        bad = int((~losses.isfinite()).nonzero()[0])
        raise TrainingError(
            f"the loss of step {before + bad + 1} is {losses[bad].item()}: try a lower --lr or --clip 1"
        )
    return mean


def choose_execution(model: Classifier, plan: Plan) -> Execution:
    """Move the network to the device; return how the checkpoint computes, or what is fastest.

    Raises TrainingError, CheckpointError.
    """
    model.to(plan.context.device)
    if plan.batch < 2:
        raise TrainingError(f"not enough training images: {len(plan.data.train)}")
    if plan.resume:
        kept = Execution(**load_state(plan.resume, small=True)["execution"])
        return kept if plan.recipe.runtime == "auto" else replace(kept, runtime=plan.recipe.runtime)
    first = torch.arange(max(2, plan.batch // plan.context.world // plan.recipe.accumulate))
    images, labels = next(batches(plan.data.train, first, plan.batch, plan.context.device))
    if images.shape[1:] != plan.data.shape:
        images = interpolate(images.float(), plan.data.shape[1:], mode="bilinear")
    # Each process times its own, and all must compute alike: DistributedDataParallel refuses mixed layouts.
    return plan.context.share(choose(model, images, labels, plan.recipe, find_runtimes(plan)))


def find_runtimes(plan: Plan) -> list[str]:
    """Return the runtimes to choose from: the recipe's own choice, otherwise what may be faster here."""
    if plan.recipe.runtime != "auto":
        return [plan.recipe.runtime]
    return ["eager", *([] if plan.graph_obstacle else ["graph"]), *(["compile"] if plan.recipe.compile else [])]


def prepare(model: Classifier, plan: Plan, execution: Execution) -> Run:
    """Return a new run, or one restored from the plan's checkpoint."""
    groups = plan.groups or [LayerGroup([model], plan.recipe.peak_lr)]
    model.to(memory_format=execution.format)
    if plan.context.world > 1:
        share_norms(model)
    run = begin(model, groups, plan.recipe, execution, plan.steps)
    if plan.resume:
        run.restore(*load_checkpoint(plan.resume), plan)
    return run


def wrap(model: Classifier, plan: Plan, runtime: str) -> Network:
    """Wrap the network for training: started by this runtime, gradients averaged over all processes."""
    if runtime == "graph" and (reason := plan.graph_obstacle):
        say(f"without CUDA graphs: {reason}")
        runtime = "eager"
    torch.backends.cudnn.benchmark = not plan.recipe.progressive  # let it time its algorithms, once for each image size
    network = start_with(runtime, model)
    if plan.context.world == 1:
        return network
    device = plan.context.device
    return DistributedDataParallel(cast(nn.Module, network), [device.index] if device.type == "cuda" else None)
