"""Cross-validation: a network for each fold, tested on images that it was not trained on.

    outputs/
      fold-1/ ...    a run for each fold: model, metrics, checkpoints
      args.json      options, and the score of each fold; written when all have ended
      metrics.json   mean and spread

Each fold is a run like any other, the same as with `--fold K`, so an interrupted one resumes where it was.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from .config.data import SINGLE
from .config.settings import DIGEST, Settings
from .errors import CheckpointError, TrainingError
from .models.modelfile import FOLD, NAME
from .program import check_folder, list_results, say
from .scores.intervals import wilson
from .training.checkpoint import Checkpoints
from .training.distributed import distributed_context

RESULTS = ("args.json", "metrics.json")


def train_folds(settings: Settings, train_one: Callable[[Settings], float]) -> float:
    """Train a network for each fold by `train_one`; return their mean score. Raises JobsError."""
    start(settings)
    scores = []
    with distributed_context(settings.device):  # the same processes for all folds
        for fold in range(1, settings.config.folds + 1):
            say(f"fold {fold} of {settings.config.folds}")
            scores.append(train_one(choose_fold(settings, fold)))
    if is_first():
        finish(settings, scores)
    return fmean(scores)


def is_first() -> bool:
    """Return whether this process is the first of those that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def start(settings: Settings) -> None:
    """Remove what an earlier cross-validation left, except what is to be resumed. Raises JobsError."""
    if (task := settings.config.task) != SINGLE:
        raise TrainingError(f"--folds is for one class for each image, not for --{task}; --fold K trains one of them")
    if (settings.out / NAME).exists():
        raise TrainingError(f"--out {settings.out}: has the model of another run; choose another folder")
    names = [FOLD.format(fold) for fold in range(1, settings.config.folds + 1)]
    if settings.resume not in ("", "auto") and not any(find_fold(settings.resume, name) for name in names):
        raise CheckpointError(f"--resume {settings.resume}: no checkpoint of a fold found")
    check_folder(settings.out)
    if not is_first():
        return
    for name in RESULTS:
        (settings.out / name).unlink(missing_ok=True)
    for name in names if not settings.resume else ():
        Checkpoints(settings.out / name / "checkpoints").clear()


def find_fold(run: str, name: str) -> Path | None:
    """Return the folder of a fold in that of a run, if there is a checkpoint to resume it from."""
    folders = [folder / name for folder in list_results(Path(run))]
    return next((folder for folder in folders if Checkpoints(folder / "checkpoints").latest()), None)


def choose_fold(settings: Settings, fold: int) -> Settings:
    """Return the settings of the run for one fold."""
    name, resume, like = FOLD.format(fold), settings.resume, dict(settings.like)
    if resume not in ("", "auto"):
        resume = str(find_fold(resume, name) or "")
    if isinstance(digests := like.get(DIGEST), list):
        like |= {DIGEST: digests[fold - 1], "fold": fold}
    config = replace(settings.config, fold=fold)
    return replace(settings, out=settings.out / name, resume=resume, like=like, config=config)


def finish(settings: Settings, scores: Sequence[float]) -> None:
    """Print and write the mean of the folds' scores and their spread, which is their standard deviation."""
    folders = [settings.out / FOLD.format(fold) for fold in range(1, len(scores) + 1)]
    kept = [json.loads((folder / "args.json").read_text()) for folder in folders]
    figures = [name for name in kept[0] if name.startswith("test_") and name != "test_images"]
    lead, mean, spread = figures[0].removeprefix("test_"), fmean(scores), stdev(scores)
    images = sum(each["test_images"] for each in kept)
    facts = kept[-1] | {
        **{name: fmean(each[name] for each in kept) for name in figures},
        "fold": 0,
        "out": str(settings.out),
        "resume": settings.resume,
        "test_images": images,
        "fold_scores": list(scores),
        DIGEST: [each[DIGEST] for each in kept],
        "started": kept[0]["started"],
        "seconds": round(sum(each["seconds"] for each in kept), 1),
    }
    (settings.out / "metrics.json").write_text(json.dumps({lead: mean, "spread": spread}) + "\n")
    (settings.out / "args.json").write_text(json.dumps(facts, indent=2) + "\n")
    say(
        f"mean {lead} of {len(scores)} folds {mean:.4f}, spread {spread:.4f} (standard deviation), from "
        f"{min(scores):.4f} to {max(scores):.4f}"
    )
    if lead == "accuracy":
        right = sum(score * each["test_images"] for score, each in zip(scores, kept, strict=True))
        say(
            f"each of {images:,} images tested once, by a network that had not seen it: {wilson(right / images, images)}"
        )
    say(str(settings.out))
