"""Find the requested data by name, folder or CSV file; download it if possible."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..config.data import NAMED, SINGLE, DataConfig
from ..errors import DataError
from ..images.cache import FOLDER, cached
from ..images.decoding import CROP, Files, Square, is_broken, is_grey, natural_size, read_images
from ..images.depth import Levels
from ..images.labels import Columns, list_csv
from ..images.layout import TABLES, list_folder
from ..images.levels import find_levels, is_deep_file
from ..images.listing import Listing
from ..program import names_of, say
from ..tasks import find_task, fit_task
from ..tasks.labels import check_labels, encode, name_classes, report_missing
from .dataset import Dataset, Split
from .idx import missing, read_idx
from .memory import free_memory_bytes
from .named import INSTALLED, NAMES, digits, fetch
from .parts import separate
from .splits import folds, split

CSV_ONLY = ("label", "file", "group", "images")
Found = Dataset | tuple[Listing, Listing | None]
"""Images in memory, or files with their classes: one listing to split, or two."""


@dataclass(frozen=True)
class Source:
    """Where to look, and whether to download missing data."""

    installed: Path = INSTALLED
    cache: Path = field(default=FOLDER)
    download: bool = True


def load(config: DataConfig, source: Source | None = None, classes: Sequence[str] = (), whole: bool = False) -> Dataset:
    """Load the requested data set; raises DataError.

    `auto` is Fashion-MNIST if available, otherwise scikit-learn's digits. Data requested by name or path is never
    substituted. For a model that exists, `classes` are those that it tells apart: the data need not have all of them.
    With `whole`, data without a test part is one as a whole, and there is nothing to train on.
    """
    source = source or Source()
    task = config.task
    if config.presize and not 0 < config.size < config.presize:
        raise DataError(f"--presize {config.presize}: needs a smaller --size, which the network receives")
    path = Path(config.data).expanduser()
    if path.suffix.lower() not in TABLES and (given := [name for name in CSV_ONLY if getattr(config, name)]):
        raise DataError(f"--{given[0]} is for CSV files, and {config.data} is not one")
    if config.label_from and (config.data in ("auto", *NAMED) or not path.is_dir()):
        raise DataError(f"--label-from is for folders, and {config.data} is not one")
    columns = Columns(config.label, config.file, config.group, task, config.label_separator)
    if config.data == "auto":
        found: Found = load_any(source)
    elif config.data in NAMED:
        found = load_named(config, source)
    elif path.is_dir() and len(missing(path)) < 4 and not config.label_from:
        found = read_idx(path, cache=source.cache)
    elif path.is_dir():
        found = list_folder(path, config.label_from, config.strict, columns)
    elif path.suffix.lower() in TABLES and path.is_file():
        found = list_csv(path, config.images, columns, config.strict)
    else:
        raise DataError(f"{config.data}: not a folder or CSV file, nor one of {', '.join(NAMED)}")
    if isinstance(found, Dataset):
        data = check_pixels(found, config, bool(classes))
        if config.fold:
            learned, held = take_fold(data.train, config)
            data = replace(data, train=learned, test=held)
    else:
        config = replace(config, holdout=1.0) if whole and found[1] is None else config
        data = from_listings(*found, config, source.cache, tuple(classes))
    if classes and data.classes != tuple(classes):
        raise DataError(f"{data.name} has other classes than the model: {names_of(data.classes)}")
    data.check(trains=not whole)
    if config.presize:
        return replace(data, train=data.train.resize(config.presize), test=data.test.resize(config.size))
    return data.resize(config.size) if config.size else data


def load_any(source: Source) -> Dataset:
    """Load Fashion-MNIST, downloading it if necessary; fall back to the digits with a message."""
    raw = source.cache / "FashionMNIST" / "raw"  # torchvision's layout
    for found in (source.installed, raw):
        if not missing(found):
            return read_idx(found, cache=source.cache)
    reason = fetch("FashionMNIST", source.cache, 60) if source.download else "downloads are disabled"
    if not reason:
        return read_idx(raw, cache=source.cache)
    say(f"Fashion-MNIST not found ({reason}): using scikit-learn's 1,797 handwritten digits instead")
    return digits()


def load_named(config: DataConfig, source: Source) -> Found:
    """Load or list a named data set, downloading it if necessary; raises DataError."""
    if config.data == "digits":
        return digits()
    name = NAMES[config.data]
    if config.data == "fashion-mnist" and not missing(source.installed):
        return read_idx(source.installed, cache=source.cache)
    if not name.is_here(source.cache):
        reason = (
            fetch(name.torchvision, source.cache, 3600, *name.arguments)
            if source.download
            else "downloads are disabled"
        )
        if reason:
            raise DataError(f"{config.data} not found in {source.cache}: {reason}")
    return name.read(source.cache)


def check_pixels(data: Dataset, config: DataConfig, known: bool) -> Dataset:
    """Return data that came as pixels and classes. Raises DataError for options that would not matter."""
    if config.task != SINGLE:
        raise DataError(
            f"{data.name} has one class for each image; --{config.task} is for CSV files and the names of files"
        )
    if config.range:
        complain_of_range(data.name, config.range, known)
    return data


def complain_of_range(name: str, levels: Levels, known: bool) -> None:
    """Raise DataError for a range that changes nothing; say so if it is `known` from a model."""
    said = f"{name}: all images have 8 bits, which --range {levels[0]:g}:{levels[1]:g} does not change"
    if not known:
        raise DataError(f"{said}; leave it out")
    say(said)


def from_listings(
    train: Listing, test: Listing | None, config: DataConfig, cache: Path, known: tuple[str, ...] = ()
) -> Dataset:
    """Build a data set from one listing, which is split, or two; broken images are reported and skipped.

    Its classes or labels are those of a model, if they are `known`, or else the first listing's.
    """
    task = config.task
    classes = known or name_classes(train, task)
    check_labels(train, test, classes, bool(known), task)
    pool, learns, levels = read_pool([train, *([test] if test else [])], classes, config, cache, bool(known))
    if test or config.holdout == 1:
        learned, held = pool.divide(learns & torch.tensor(test is not None))
        if config.fold:
            learned, held = take_fold(learned, config)
    elif config.fold:
        learned, held = take_fold(pool, config)
    else:
        held_out = split(find_task(task).strata(pool.labels), config.holdout, config.seed, pool.units, pool.grouped)[1]
        learned, held = pool.divide(~torch.isin(torch.arange(len(pool)), held_out))
    del pool  # its images have another order now
    square = Square(config.resize, config.interpolation or "bilinear")
    report_missing(train.name, learned.labels, classes, task)
    data = Dataset(train.name, classes, learned, held, test is None or config.fold > 0, levels, square)
    return separate(replace(data, task=fit_task(task, learned.labels)), config.dedupe)


def take_fold(whole: Split, config: DataConfig) -> tuple[Split, Split]:
    """Return the images of the other folds, and those of the one to test on; use the whole split no more."""
    held = folds(whole.labels, config.folds, config.seed, whole.units, whole.grouped)[config.fold - 1][1]
    return whole.divide(~torch.isin(torch.arange(len(whole)), held))


def read_pool(
    listings: Sequence[Listing], classes: tuple[str, ...], config: DataConfig, cache: Path, known: bool
) -> tuple[Split, Tensor, Levels | None]:
    """Return all readable images, decoded if they fit in memory, the first listing's, and the levels."""
    train = listings[0]
    files = [file for listing in listings for file in listing.files]
    labels = encode(listings, classes, config.task)
    units = tuple(unit for listing in listings for unit in listing.units)
    learns = torch.arange(len(files)) < len(train.files)
    size, levels = config.presize or config.size or natural_size(files), config.range or find_levels(files)
    if config.range and not any(map(is_deep_file, files)):
        complain_of_range(train.name, config.range, known)
    square = Square(config.resize, config.interpolation or "bilinear")
    source = Files(tuple(files), size, 3, config.strict, levels, square)
    pool = Split(source, labels, tuple(map(str, files)), units, train.grouped)
    if config.stream or not fits(len(files), size):
        say(f"{len(files):,} images of {size} x {size} pixels are decoded during training")
        sample = files[:: max(1, len(files) // 100)]
        if all(map(is_broken, sample)):
            raise DataError(
                f"{train.name}: could not read any of a sample of {len(sample):,} images, such as {sample[0]}"
            )
        grey = all(map(is_grey, sample))
        return replace(pool, images=replace(source, channels=1 if grey else 3)), learns, levels
    how = f"{size} {levels} 2" if square == CROP else f"{size} {levels} 2 {square}"
    images, whole = cached(cache, files, how, lambda: read_images(files, size, config.strict, levels, square))
    if len(whole) < len(files):
        say(f"{train.name}: {len(files) - len(whole):,} of {len(files):,} images are corrupt and were skipped")
        if config.strict:
            read_images([file for at, file in enumerate(files) if at not in set(whole)], size, strict=True)
    kept = torch.tensor(whole)
    return replace(pool.take(kept), images=images), learns[kept], levels


def fits(count: int, size: int) -> bool:
    """Return whether this many colour images fit in half of the free memory."""
    return count * 3 * size * size < free_memory_bytes() / 2
