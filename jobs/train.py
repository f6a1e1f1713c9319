"""Train a model on images: `python -m jobs.train --data fashion-mnist --model small --epochs 5`.

It writes into --out

    model.safetensors   the model, with its classes and normalization; read by the other programs
    metrics.jsonl       one JSON object per epoch
    args.json           options, command, commit, date, duration and test accuracy
    checkpoints/        used by --resume auto

With --folds N it writes a folder with these for each fold, and the mean of their accuracies (jobs/folds.py).
Ctrl-C and SIGTERM finish the step, save and exit 130 and 143. Under `torchrun` several processes train as one.
"""

from collections.abc import Sequence

from .config.settings import Settings, parse
from .program import keep_memory, run_program


def main(argv: Sequence[str] | None = None) -> float:
    """Run the program, return the test accuracy; user errors print one line and exit with status 1 or 2."""
    settings, _ = parse(argv, "jobs.train", "Train a model on images.")
    keep_memory()
    return run_program("jobs.train", lambda: run(settings))


def run(settings: Settings) -> float:
    """Train all weights at one rate; return the test accuracy, or the mean of folds. Raises JobsError."""
    from .folds import train_folds  # they import torch, which takes a second: --help must start at once
    from .optim.optimizers import LayerGroup
    from .training.pipeline import train

    def train_one(settings: Settings) -> float:
        return train(settings, lambda model: [LayerGroup([model], settings.recipe.peak_lr)])

    return train_folds(settings, train_one) if settings.has_folds else train_one(settings)


if __name__ == "__main__":
    main()
