"""Train a model on images: `python -m jobs.train --data fashion-mnist --model small --epochs 5 --out outputs`.

It writes into --out

    model.safetensors   the model, with its classes and how images are normalised; every other program here reads it
    metrics.jsonl       one JSON object for each epoch
    args.json           all that the run was made from, and what it reached
    checkpoints/        where --resume auto goes on

Ctrl-C and SIGTERM finish the step, save and exit 130 and 143. Under `torchrun` several processes train as one.
"""

from collections.abc import Sequence

from .config.settings import Settings, parse
from .program import keep_memory, run_program


def main(argv: Sequence[str] | None = None) -> float:
    """Run the program and return the test accuracy; what a user can mend ends in one line and status 1 or 2."""
    settings, _ = parse(argv, "jobs.train", "Train a model on images.")
    keep_memory()
    return run_program("jobs.train", lambda: run(settings))


def run(settings: Settings) -> float:
    """Load, train all weights at one rate, write; return the test accuracy. Raises JobsError."""
    from .training.learn import learn

    return learn(settings, lambda model: [([model], settings.recipe.lr)])


if __name__ == "__main__":
    main()
