"""Log a run's metrics as JSON lines, and to TensorBoard and Weights & Biases on request.

A tracker is a function that takes the metrics of one epoch.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import TrainingError

Track = Callable[[Mapping[str, Any]], None]


def ignore(figures: Mapping[str, Any]) -> None:
    """Log nothing."""


def check_packages(tensorboard: bool, wandb: bool) -> None:
    """Raise TrainingError if a library that is asked for is missing."""
    for name, wanted in (("tensorboard", tensorboard), ("wandb", wandb)):
        if wanted and not find_spec(name):
            raise TrainingError(f"--{name} needs a package: pip install {name}")


@contextmanager
def tracking(folder: Path, facts: Mapping[str, Any], tensorboard: bool, wandb: bool, first: bool) -> Iterator[Track]:
    """Yield the function that logs an epoch's metrics. Raises TrainingError if a service refuses.

    Only the `first` of several processes writes.
    """
    if not first:
        yield ignore
        return
    with ExitStack() as open_ones:
        trackers = [lines(open_ones, folder / "metrics.jsonl")]
        if tensorboard:
            trackers.append(board(open_ones, folder / "tensorboard"))
        if wandb:
            trackers.append(weights_and_biases(open_ones, folder, facts))

        def track_all(figures: Mapping[str, Any]) -> None:
            for track in trackers:
                track(figures)

        yield track_all


def lines(open_ones: ExitStack, path: Path) -> Track:
    """Return a logger that writes one JSON object per line."""
    log = open_ones.enter_context(path.open("w"))
    return lambda figures: print(json.dumps(figures), file=log, flush=True)


def board(open_ones: ExitStack, folder: Path) -> Track:
    """Return a logger for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    open_ones.callback(writer.close)

    def track(figures: Mapping[str, Any]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, int(figures["epoch"]))

    return track


def weights_and_biases(open_ones: ExitStack, folder: Path, facts: Mapping[str, Any]) -> Track:
    """Return a logger for Weights & Biases; WANDB_MODE=offline keeps logs on this machine."""
    import wandb

    try:
        run = open_ones.enter_context(wandb.init(project="gpujob", dir=str(folder), config=dict(facts)))
    except wandb.Error as error:  # not logged in, not reachable
        raise TrainingError(f"--wandb: {error}; WANDB_MODE=offline keeps the logs here") from error
    return lambda figures: run.log(dict(figures))
