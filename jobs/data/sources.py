"""Find the requested data by name, folder or CSV file; download it if possible."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..config.data import NAMED, DataConfig
from ..errors import DataError
from ..images.cache import FOLDER, cached
from ..images.decoding import CROP, Files, Square, is_broken, is_grey, natural_size, read_images
from ..images.depth import Levels
from ..images.labels import Columns, list_csv
from ..images.layout import TABLES, list_folder
from ..images.levels import find_levels
from ..images.listing import Listing
from ..program import count_of, names_of, say
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
    if config.presize and not 0 < config.size < config.presize:
        raise DataError(f"--presize {config.presize}: needs a smaller --size, which the network receives")
    path = Path(config.data).expanduser()
    if path.suffix.lower() not in TABLES and (given := [name for name in CSV_ONLY if getattr(config, name)]):
        raise DataError(f"--{given[0]} is for CSV files, and {config.data} is not one")
    if config.label_from and (config.data in ("auto", *NAMED) or not path.is_dir()):
        raise DataError(f"--label-from is for folders, and {config.data} is not one")
    if config.data == "auto":
        found: Found = load_any(source)
    elif config.data in NAMED:
        found = load_named(config, source)
    elif path.is_dir() and len(missing(path)) < 4 and not config.label_from:
        found = read_idx(path, cache=source.cache)
    elif path.is_dir():
        found = list_folder(path, config.label_from, config.strict)
    elif path.suffix.lower() in TABLES and path.is_file():
        found = list_csv(path, config.images, Columns(config.label, config.file, config.group), config.strict)
    else:
        raise DataError(f"{config.data}: not a folder or CSV file, nor one of {', '.join(NAMED)}")
    if not isinstance(found, Dataset) and whole and found[1] is None:
        config = replace(config, holdout=1.0)
    if not isinstance(found, Dataset):
        data = from_listings(*found, config, source.cache, tuple(classes))
    elif config.fold:
        learned, held = take_fold(found.train, config)
        data = replace(found, train=learned, test=held)
    else:
        data = found
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


def from_listings(
    train: Listing, test: Listing | None, config: DataConfig, cache: Path, known: tuple[str, ...] = ()
) -> Dataset:
    """Build a data set from one listing, which is split, or two; broken images are reported and skipped.

    Its classes are those of a model, if they are `known`, or else the first listing's.
    """
    classes = known or train.classes
    if len(classes) < 2:
        raise DataError(f"{train.name}: only one class ({names_of(classes)}); at least two are needed")
    for listing in (train, test):
        if listing and (strange := sorted(set(listing.labels) - set(classes))):
            where = "the model" if known else train.name
            raise DataError(f"{listing.name}: {where} does not have these classes: {names_of(strange)}")
    if len(set(train.labels)) == len(train.labels) > 2 and not test:
        raise DataError(
            f"{train.name}: each image has a class of its own ({names_of(train.labels, 3)}); in a CSV file, --label chooses "
            "the column with the classes"
        )
    alike = {name.casefold(): name for name in classes}
    if twice := [name for name in classes if alike[name.casefold()] != name]:
        say(f"{train.name}: different classes, though only capitals differ: {twice[0]}, {alike[twice[0].casefold()]}")
    present = {*train.labels, *(test.labels if test else ())}
    if absent := [name for name in classes if name not in present]:
        say(f"{train.name}: {count_of(len(absent), 'class', 'classes')} without images: {names_of(absent)}")
    pool, learns, levels = read_pool([train, *([test] if test else [])], classes, config, cache)
    if test or config.holdout == 1:
        learned, held = pool.divide(learns & torch.tensor(test is not None))
        if config.fold:
            learned, held = take_fold(learned, config)
    elif config.fold:
        learned, held = take_fold(pool, config)
    else:
        held_out = split(pool.labels, config.holdout, config.seed, pool.units, pool.grouped)[1]
        learned, held = pool.divide(~torch.isin(torch.arange(len(pool)), held_out))
    del pool  # its images have another order now
    square = Square(config.resize, config.interpolation or "bilinear")
    held_out_here = test is None or config.fold > 0
    return separate(Dataset(train.name, classes, learned, held, held_out_here, levels, square), config.dedupe)


def take_fold(whole: Split, config: DataConfig) -> tuple[Split, Split]:
    """Return the images of the other folds, and those of the one to test on; use the whole split no more."""
    held = folds(whole.labels, config.folds, config.seed, whole.units, whole.grouped)[config.fold - 1][1]
    return whole.divide(~torch.isin(torch.arange(len(whole)), held))


def read_pool(
    listings: Sequence[Listing], classes: tuple[str, ...], config: DataConfig, cache: Path
) -> tuple[Split, Tensor, Levels | None]:
    """Return all readable images, decoded if they fit in memory, the first listing's, and the levels."""
    train, numbers = listings[0], {name: at for at, name in enumerate(classes)}
    files = [file for listing in listings for file in listing.files]
    labels = torch.tensor([numbers[label] for listing in listings for label in listing.labels])
    units = tuple(unit for listing in listings for unit in listing.units)
    learns = torch.arange(len(files)) < len(train.files)
    size, levels = config.presize or config.size or natural_size(files), config.range or find_levels(files)
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
