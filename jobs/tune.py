"""Search good options: `python -m jobs.tune --data fashion-mnist --time-budget 10m`.

Learning rate, weight decay and label smoothing are searched by successive halving (arXiv:1502.07943): all --candidates
train briefly, the best third three times as long, and so on until
one is left. --time-budget is for all together, an equal part for each round; without it the first round trains for --epochs
(1). The first candidate has the options as typed, so that the result says what the search has gained. Candidates are compared
on a fifth of the training images; a test part of the data is left alone.

    outputs/
      round-1/candidate-0/ ...  a run for each candidate; the same command again reads those that have ended
      metrics.json              the accuracy of the best candidate, and its options

As the command of an array, each task searches among candidates of its own, and `gpujob tasks` has the best of all:

    gpujob run --array 0-7 -m jobs.tune --data fashion-mnist --time-budget 10m
    gpujob tasks --sort -accuracy
"""

import argparse
import json
import os
import random
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from .config.data import SINGLE
from .config.recipe import CLOSED_FORM, Recipe
from .config.settings import Settings, parse
from .errors import TrainingError
from .program import check_folder, count_of, keep_memory, number, run_program, say

THIRD, FOLDS = 3, 5
ABOUT = """Search a good learning rate, weight decay and label smoothing by successive halving. Other options are those of
jobs.train, for every candidate; --time-budget is for all candidates together."""
SEARCHED = ("lr", "weight_decay", "label_smoothing")
TrainOne = Callable[[Settings], float]


def main(argv: Sequence[str] | None = None) -> float:
    """Run the program, return the best accuracy; user errors print one line and exit with status 1 or 2."""
    own = argparse.ArgumentParser(add_help=False)
    more = "how many to try (%(default)s); in an array, in each task"
    own.add_argument("--candidates", type=number(int, 1, 10_000), default=9, metavar="N", help=more)
    settings, extra = parse(argv, "jobs.tune", ABOUT, own=own)
    for name in ("out", "resume", "epochs", *SEARCHED):  # all but these is typed again to train with the best
        own.add_argument(f"--{name.replace('_', '-')}")
    _, typed = own.parse_known_args(argv)
    keep_memory()
    return run_program("jobs.tune", lambda: run(settings, extra.candidates, typed))


def run(settings: Settings, count: int, typed: Sequence[str]) -> float:
    """Train candidates, print the command of the best; return its accuracy. Raises JobsError."""
    check(settings)
    from .optim.optimizers import LayerGroup  # they import torch, which takes a second: --help must start at once
    from .training.pipeline import train

    def train_one(settings: Settings) -> float:
        return train(settings, lambda model: [LayerGroup([model], settings.recipe.peak_lr)])

    best, score = search(settings, choose_candidates(count, os.environ), train_one)
    chosen = draw(settings.recipe, best)
    facts = {"accuracy": score, **{name: getattr(chosen, name) for name in SEARCHED}}
    (settings.out / "metrics.json").write_text(json.dumps(facts) + "\n")
    say(f"best: candidate {best}, accuracy {score:.4f} on images that it was not trained on")
    epochs = lengthen(chosen, count_rounds(count) - 1, 1, 1).epochs
    words = [*typed, *(["--epochs", str(epochs)] if epochs else [])]
    say(f"train with its options: python -m jobs.train {shlex.join(words)} {describe(settings.recipe, best)}")
    return score


def check(settings: Settings) -> None:
    """Raise JobsError for options that a search cannot have."""
    task, model = settings.config.task, settings.model
    unfit = {
        "--folds": settings.config.folds,
        "--lr-find": settings.lr_find,
        "--like": settings.like,
        "--resume DIR: without it, the same command again resumes": settings.resume not in ("", "auto"),
        f"--model {model}: it has no learning rate": model in CLOSED_FORM,
        f"--{task}: it is for one class for each image": task != SINGLE,
        "torchrun: for several GPUs, gpujob run --array 0-3 -m jobs.tune": int(os.environ.get("WORLD_SIZE", "1")) > 1,
    }
    for option in (option for option, given in unfit.items() if given):
        raise TrainingError(f"cannot be used with {option}")
    check_folder(settings.out)


def choose_candidates(count: int, variables: Any) -> range:
    """Return the candidates of this task of an array, or the first ones: no two tasks have the same."""
    first = int(variables.get("GPUJOB_TASK", 0)) * count
    return range(first, first + count)


def search(settings: Settings, candidates: Sequence[int], train_one: TrainOne) -> tuple[int, float]:
    """Train candidates, each round the best third for longer; return the last one and its accuracy."""
    rounds = count_rounds(len(candidates))
    left, scores = list(candidates), dict[int, float]()
    for at in range(rounds):
        say(f"round {at + 1} of {rounds}: {count_of(len(left), 'candidate')}")
        for candidate in left:
            recipe = lengthen(draw(settings.recipe, candidate), at, rounds, len(left))
            scores[candidate] = train_once(settings, recipe, f"round-{at + 1}/candidate-{candidate}", train_one)
        left = sorted(left, key=lambda candidate: -scores[candidate])
        for candidate in left:
            say(f"  candidate {candidate}: accuracy {scores[candidate]:.4f}, {describe(settings.recipe, candidate)}")
        left = left[: max(len(left) // THIRD, 1)]
    return left[0], scores[left[0]]


def count_rounds(candidates: int) -> int:
    """Return in how many rounds one candidate is left."""
    return 1 + (count_rounds(candidates // THIRD) if candidates >= THIRD else 0)


def draw(recipe: Recipe, candidate: int) -> Recipe:
    """Return a candidate's recipe, the same each time; that of the first is the recipe itself."""
    if not candidate:
        return recipe
    chance = random.Random(f"{recipe.seed} {candidate}")  # noqa: S311  repeatable, not secret
    lr, decay = recipe.peak_lr * 10 ** chance.uniform(-1, 1), 10 ** chance.uniform(-4, -0.5)
    smoothing = round(chance.uniform(0, 0.2), 2)
    return replace(recipe, lr=float(f"{lr:.2g}"), weight_decay=float(f"{decay:.2g}"), label_smoothing=smoothing)


def lengthen(recipe: Recipe, at: int, rounds: int, candidates: int) -> Recipe:
    """Return a recipe with its length in a round that has this many candidates."""
    if recipe.time_budget_s:
        return replace(recipe, time_budget_s=recipe.time_budget_s / rounds / candidates)
    return replace(recipe, epochs=(recipe.epochs or 1) * THIRD**at)


def train_once(settings: Settings, recipe: Recipe, name: str, train_one: TrainOne) -> float:
    """Return the accuracy of a candidate, from its folder if it was trained there with these options.

    One that was interrupted is resumed. What other options have left is replaced.
    """
    out, config = settings.out / name, replace(settings.config, folds=FOLDS, fold=1)
    asked = replace(settings, out=out, resume="auto", recipe=recipe, config=config)
    options, record = out / "options.json", out / "args.json"
    text = json.dumps(asdict(asked), default=str)
    with suppress(OSError):
        if options.read_text() == text:
            with suppress(OSError, ValueError, KeyError, TypeError):  # it was interrupted before it had a result
                return float(json.loads(record.read_text())["test_accuracy"])
            return train_one(asked)
    out.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    options.write_text(text)
    return train_one(replace(asked, resume=""))


def describe(recipe: Recipe, candidate: int) -> str:
    """Return a candidate's options as they are typed."""
    chosen = draw(recipe, candidate)
    return " ".join(f"--{name.replace('_', '-')} {getattr(chosen, name):g}" for name in SEARCHED)


if __name__ == "__main__":
    main()
