"""Launch the cluster of a job first, if there is none: `run --gpu`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cli.notices import billing
from cli.options.context import CHECK_PLAN, find_cluster
from cli.options.retype import TYPED, retype, typed_words
from infra.errors import Change, CloudError, GoneError, GpujobError, UsageError
from infra.ledger.known_clusters import recall
from infra.model import format_gpu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.launch.plans import Plan
    from infra.model import Cluster, Gpu


@contextmanager
def launched(
    context: click.Context, name: str, gpu: "Gpu | None", gpus: int | None, options: "Sequence[str]"
) -> "Iterator[Cluster]":
    """Yield the cluster for a job, launched if needed; report it as running if the job fails to start."""
    cluster = find_or_launch(context, name, gpu, gpus, options)
    with reporting(cluster):
        yield cluster


def find_or_launch(
    context: click.Context, name: str, gpu: "Gpu | None", gpus: int | None, options: "Sequence[str]"
) -> "Cluster":
    """Return the cluster of this name, launched as `up` does with these options if it does not exist.

    Raises UsageError if it exists with another GPU, or if the planned one has fewer than `gpus`.
    """
    known = recall(name)
    if known is None or has_ended(known):
        launch(context, name, gpu, gpus, options)
    elif "--dry-run" in options and not known.is_local:
        raise UsageError(f"'{name}' is a cluster on AWS, but this is a dry run", "omit --dry-run")
    elif gpu and (known.gpu is None or known.gpu.name != gpu.name or known.gpu.count < gpu.count):
        has = format_gpu(known.gpu) if known.gpu else "no GPU"
        raise UsageError(
            f"'{name}' is running with {has}, not {format_gpu(gpu)}",
            f"omit --gpu to use it, or terminate it first: gpujob down {name}",
        )
    return find_cluster(name)


def has_ended(cluster: "Cluster") -> bool:
    """Return whether a recorded cluster's machine no longer exists; False if its cloud cannot be reached."""
    from infra.launch import power  # loads fabric, which `check` does not need

    try:
        power.find(cluster)
    except GoneError:
        return True
    except CloudError:
        return False
    return False


def launch(context: click.Context, name: str, gpu: "Gpu | None", gpus: int | None, options: "Sequence[str]") -> None:
    """Launch a cluster with the command `up`, its variables and its table of gpujob.toml."""
    typed = typed_words(context)
    words = ("up", name, *(("--gpu", format_gpu(gpu)) if gpu else ()), *options)
    root = context.find_root()
    up = root.command.get_command(root, "up") if isinstance(root.command, click.Group) else None
    if up is None:
        raise AssertionError("no command up")
    root.meta[TYPED], root.meta[CHECK_PLAN] = words, lambda plan: check_count(plan, gpus, typed)
    try:
        with up.make_context("up", list(words[1:]), parent=root) as launching:
            up.invoke(launching)
    except GpujobError as error:
        if error.change and error.change.word == "--gpu":  # an option of run, too
            error.hint = retype(typed, error.change)
        raise
    finally:
        root.meta[TYPED] = typed


def check_count(plan: "Plan", gpus: int | None, typed: "Sequence[str]") -> None:
    """Raise UsageError, suggesting another --gpu, if a planned machine has fewer GPUs than this."""
    offers = [offer for choice in plan.choices for offer in choice.offers]
    least = min(offers, key=lambda offer: offer.gpu.count if offer.gpu else 1)
    count = least.gpu.count if least.gpu else 1
    if gpus is not None and gpus > count:
        hint = retype(typed, Change("--gpu", f"{least.gpu.name}:{gpus}")) if least.gpu else f"use --gpus {count}"
        raise UsageError(f"the job requests {gpus} GPUs, but {least.instance_type} has {count}", hint)


@contextmanager
def reporting(cluster: "Cluster") -> Iterator[None]:
    """Add to any error that the cluster is still running, unless it says so."""
    try:
        yield
    except (GpujobError, KeyboardInterrupt) as error:
        if not any("running" in note for note in getattr(error, "__notes__", ())):
            billing.add_notes(error, billing.running(cluster))
        raise
