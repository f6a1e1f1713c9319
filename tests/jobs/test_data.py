"""Images are found wherever they lie, converted right, split without leak, and what is wrong with them is said."""

import csv
import gzip
import shutil
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_idx
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from jobs.config.data import DataConfig
from jobs.data import Dataset, Source, load
from jobs.data.batches import batches
from jobs.data.dataset import Split
from jobs.data.decoders import Decoders
from jobs.data.idx import FILES
from jobs.data.memory import free_memory_bytes
from jobs.data.named import INSTALLED, fetch
from jobs.data.parts import drop_trained, write_parts
from jobs.data.splits import draw, split
from jobs.errors import DataError
from jobs.images.decoding import BrokenImageError, read_image
from jobs.images.levels import find_levels
from jobs.training.pipeline import hold_out

needs_debian = pytest.mark.skipif(not INSTALLED.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(Path("/nowhere"), tmp_path / "cache", download=False)


def pack(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), 1))
        (folder / name).unlink()


def same(one: Dataset, other: Dataset) -> bool:
    pairs = ((one.train, other.train), (one.test, other.test))
    return all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in pairs)


@needs_debian
def test_debians_fashion_is_found_without_being_asked_for(tmp_path):
    data = load(DataConfig(), Source(cache=tmp_path, download=False))
    assert (data.name, data.train.shape, len(data.train)) == ("Fashion-MNIST", (1, 28, 28), 60_000)
    assert data.test.labels.bincount().tolist() == [1_000] * 10
    assert data.classes[0] == "T-shirt/top"


def test_plain_packed_and_mixed_idx_files_give_the_pixels_that_were_written(tmp_path, digits):
    folder = write_idx(tmp_path / "idx", digits)
    assert same(load(DataConfig(str(folder))), digits)
    pack(folder, *FILES[:2])
    assert same(load(DataConfig(str(folder))), digits)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES[2:], *(f"{name}.gz" for name in FILES[:2])])


def test_a_broken_or_missing_idx_file_is_named(tmp_path, digits):
    folder = write_idx(tmp_path / "idx", digits)
    for content in (b"", b"no idx file", b"\0\0\x08\x03" + bytes(12)):
        (folder / FILES[0]).write_bytes(content)
        with pytest.raises(DataError, match=str(folder)):
            load(DataConfig(str(folder)))
    write_idx(folder, digits)
    pack(folder, FILES[0])
    packed = folder / f"{FILES[0]}.gz"
    packed.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(DataError, match=str(packed)):
        load(DataConfig(str(folder)))
    packed.unlink()
    with pytest.raises(DataError, match=str(folder / FILES[0])):
        load(DataConfig(str(folder)))


def test_labels_of_other_images_are_refused(tmp_path, digits):
    folder = write_idx(tmp_path / "idx", digits)
    shutil.copy(folder / FILES[3], folder / FILES[1])
    with pytest.raises(DataError, match="images and labels differ"):
        load(DataConfig(str(folder)))


def test_digits_serve_where_nothing_is_found_and_one_line_says_so(source, capsys):
    data = load(DataConfig(), source)
    assert (data.name, data.train.shape) == ("digits", (1, 8, 8))
    assert capsys.readouterr().out.count("\n") == 1


def test_what_was_asked_for_is_never_replaced(source):
    for asked in ("cifar10", "mnist", "imagenette", "pets", "/nowhere/at/all", "catz"):
        with pytest.raises(DataError, match=asked):
            load(DataConfig(asked), source)


def test_a_download_that_takes_too_long_is_given_up_without_leftovers(tmp_path):
    assert fetch("FashionMNIST", tmp_path, 0.1) == "download timed out after 0.1 s"
    assert list(tmp_path.iterdir()) == []


def test_the_pets_that_torchvision_laid_down_are_cats_and_dogs_or_breeds(source, photos):
    root = source.cache / "oxford-iiit-pet"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    lines = {"trainval": ["Siamese_1 1 1 1", "great_dane_2 2 2 1"], "test": ["Siamese_3 1 1 1", "great_dane_4 2 2 1"]}
    for name, rows in lines.items():
        (root / "annotations" / f"{name}.txt").write_text("\n".join(rows))
        for row in rows:
            shutil.copy(photos / "is 1" / "1.png", root / "images" / f"{row.split()[0]}.jpg")
    pets, breeds = (load(DataConfig(name), source) for name in ("pets", "pet-breeds"))
    assert (pets.classes, breeds.classes) == (("cat", "dog"), ("Siamese", "great_dane"))
    assert pets.train.labels.tolist() == [0, 1]


def test_a_folder_of_folders_is_split_by_seed_with_each_class_in_proportion(photos, source):
    one, again = (load(DataConfig(str(photos), holdout=0.25, seed=1), source) for _ in range(2))
    other = load(DataConfig(str(photos), holdout=0.25, seed=2), source)
    assert one.classes == ("is 0", "is 1", "is 2")
    assert all(1 <= held <= 6 for held in one.test.labels.bincount().tolist())
    assert one.train.shape == (1, 8, 8)
    assert not set(one.train.names) & set(one.test.names)
    assert same(one, again)
    assert one.test.names != other.test.names


def test_train_and_test_folders_are_kept_apart(photos, source, tmp_path):
    for name, chosen in (("train", slice(9)), ("valid", slice(9, None))):
        for folder in photos.iterdir():
            (tmp_path / "both" / name / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[chosen]:
                shutil.copy(file, tmp_path / "both" / name / folder.name)
    data = load(DataConfig(str(tmp_path / "both")), source)
    assert (len(data.train), len(data.test)) == (27, 9)
    assert all("/train/" in name for name in data.train.names)


def test_folders_that_are_not_tested_with_are_named(photos, source, tmp_path, capsys):
    data = tmp_path / "data"
    for name in ("train", "Val", "test"):
        shutil.copytree(photos, data / name)
    load(DataConfig(str(data)), source)
    assert "testing with test/; Val/ is not used" in capsys.readouterr().out
    shutil.rmtree(data / "Val")
    images = sorted((data / "test").rglob("*.*"))
    for at, path in enumerate(images):
        path.rename(data / "test" / f"{at}{path.suffix}")
    for folder in (path for path in (data / "test").iterdir() if path.is_dir()):
        shutil.rmtree(folder)
    found = load(DataConfig(str(data)), source)
    assert found.held_out
    assert "without classes in test/: not used here" in capsys.readouterr().out


def test_suspicious_classes_are_refused_or_named(photos, source, tmp_path, capsys):
    names = [path for path in sorted(photos.rglob("*")) if path.is_file()][:8]
    table = tmp_path / "labels.csv"
    table.write_text("file,class\n" + "".join(f"{path},{at}\n" for at, path in enumerate(names)))
    with pytest.raises(DataError, match="each image has a class of its own"):
        load(DataConfig(str(table)), source)
    table.write_text("file,class\n" + "".join(f"{path},{('cat', 'Cat')[at % 2]}\n" for at, path in enumerate(names)))
    load(DataConfig(str(table)), source)
    assert "only capitals differ: Cat, cat" in capsys.readouterr().out


def test_streaming_is_refused_where_no_image_can_be_read(source, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for at in range(3):
            (tmp_path / name / f"{at}.jpg").write_text("broken")
    with pytest.raises(DataError, match="could not read any of a sample of 6 images"):
        load(DataConfig(str(tmp_path), stream=True), source)


def test_broken_images_are_named_and_skipped_unless_strict(photos, source, capsys):
    (photos / "is 0" / "text.png").write_text("no image")
    whole = (photos / "is 1" / "0.png").read_bytes()
    (photos / "is 1" / "cut.png").write_bytes(whole[: len(whole) // 2])
    data = load(DataConfig(str(photos)), source)
    assert len(data.train) + len(data.test) == 36
    said = capsys.readouterr().out
    assert "text.png" in said
    assert "cut.png" in said
    with pytest.raises(DataError, match="broken"):
        load(DataConfig(str(photos), strict=True), source)


def test_the_second_load_decodes_nothing_and_a_changed_image_is_seen(photos, source, monkeypatch):
    first = load(DataConfig(str(photos)), source)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.data.sources.read_images", lambda *_: pytest.fail("decoded again"))
        assert same(load(DataConfig(str(photos)), source), first)
        for file in photos.rglob("*.png"):
            file.touch()  # other times, the same content
        assert same(load(DataConfig(str(photos)), source), first)
    Image.new("L", (8, 8), 255).save(photos / "is 0" / "0.png")
    assert not same(load(DataConfig(str(photos)), source), first)


def test_a_broken_image_that_is_streamed_is_named_and_ends_a_strict_run(photos, source, capsys):
    whole = (photos / "is 1" / "0.png").read_bytes()
    (photos / "is 1" / "0.png").write_bytes(whole[: len(whole) // 2])
    for strict in (False, True):
        train = load(DataConfig(str(photos), stream=True, strict=strict, holdout=0.1), source).train
        train = train.take(torch.tensor([at for at, name in enumerate(train.names) if "is 1" in name]))
        seen = batches(train, torch.arange(len(train)), 4, torch.device("cpu"))
        if strict:
            with pytest.raises(DataError, match=r"0\.png"):
                list(seen)
        else:
            assert sum(len(images) for images, _ in seen) == len(train)
            assert "0.png" in capsys.readouterr().out


def test_a_batch_of_broken_images_is_grey_and_odd_exif_data_cost_the_rotation_only(photos, source, capsys):
    train = load(DataConfig(str(photos), stream=True, size=16), source).train
    for name in train.names:
        Path(name).write_text("no image")
    [(images, _), *_] = batches(train, torch.arange(4), 4, torch.device("cpu"))
    assert images.shape == (4, 1, 16, 16)
    assert images.unique().tolist() == [128]
    assert capsys.readouterr().out.count("broken: ") == 4
    odd = photos / "odd.jpg"
    Image.new("RGB", (20, 10), "red").save(
        odd, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\xff\xff\xff\xff\xff\xff\xff\xff"
    )
    assert read_image(odd, 8)[..., 0].min() > 200


def test_memory_is_what_can_be_freed_and_what_the_control_group_allows(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 4000 kB\n")
    assert free_memory_bytes(tmp_path) == 4000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("100\n")
    (group / "memory.stat").write_text("anon 5\ninactive_file 30\n")
    assert free_memory_bytes(tmp_path) == 4000 * 1024
    (group / "memory.max").write_text("1000\n")
    assert free_memory_bytes(tmp_path) == 1000 - 100 + 30
    assert free_memory_bytes(tmp_path / "nowhere") > 0


def test_packed_images_are_unpacked_once(tmp_path, source, monkeypatch, few):
    folder = write_idx(tmp_path / "idx", few)
    pack(folder, *FILES)
    first = load(DataConfig(str(folder)), source)
    monkeypatch.setattr("jobs.data.idx.unpack", lambda path: pytest.fail("unpacked again"))
    assert same(load(DataConfig(str(folder)), source), first)


def test_what_is_streamed_is_what_is_in_memory(photos, source):
    memory, stream = (load(DataConfig(str(photos), stream=s), source) for s in (False, True))
    order = torch.randperm(len(memory.train))
    found = [list(batches(data.train, order, 10, torch.device("cpu"))) for data in (memory, stream)]
    assert all(torch.equal(a, b) for one, other in zip(*found, strict=True) for a, b in zip(one, other, strict=True))


def test_the_processes_that_decode_stay_between_epochs_and_end_with_training(photos, source):
    train = load(DataConfig(str(photos), stream=True), source).train
    cpu, order = torch.device("cpu"), torch.arange(len(train))
    alone = list(batches(train, order, 5, cpu))
    with Decoders(cpu) as decoders:
        found = []
        for _ in range(3):
            epoch = list(batches(train, order, 5, cpu, decoders))
            assert all(
                torch.equal(a, b) for one, two in zip(epoch, alone, strict=True) for a, b in zip(one, two, strict=True)
            )
            found.append({process.pid for process in active_children()})
            next(batches(train, order.flip(0), 5, cpu, decoders))  # given up, as by a time budget
        assert found[0] == found[1] == found[2] != set()
        both = zip(
            batches(train, order, 5, cpu, decoders), batches(train, order.flip(0), 5, cpu, decoders), strict=True
        )
        assert all(torch.equal(one[1], alone[at][1]) for at, (one, _) in enumerate(both)), "two at a time"
    assert not found[0] & {process.pid for process in active_children()}


@pytest.mark.parametrize("size", [(2000, 1500), (3000, 2250), (1400, 1400), (1024, 768)])
def test_large_photographs_are_decoded_small_and_look_as_if_decoded_whole(tmp_path, monkeypatch, size):
    photograph = Image.fromarray(load_sample_image("flower.jpg")).resize(size, Image.Resampling.BICUBIC)
    stripes = Image.fromarray(np.tile(np.array([0, 255, 255], np.uint8), (size[1], size[0] // 3)))  # finer than pixels
    sides: list[int] = []
    fit = ImageOps.fit
    monkeypatch.setattr(ImageOps, "fit", lambda image, *rest: sides.append(min(image.size)) or fit(image, *rest))
    for image, most in (
        (photograph, 0.7),
        (stripes, 2),
    ):  # bicubic instead of bilinear: 0.7 and 2; no averaging: 2 and 110
        image.save(tmp_path / "some.jpg", quality=95)
        with Image.open(tmp_path / "some.jpg") as whole:
            wanted = np.asarray(fit(whole.convert("RGB"), (224, 224), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(read_image(tmp_path / "some.jpg", 224).astype(int) - wanted).mean() < most, "of 255"
        assert 2 * 224 <= sides[-1] < 4 * 224


def images_of_all_modes(folder: Path) -> dict[str, Path]:
    """One image of the same look in each mode: dark on the left, bright on the right."""
    ramp = np.tile(np.linspace(0, 255, 64).round(), (64, 1)).astype(np.uint8)
    grey = Image.fromarray(ramp)
    made = {
        "grey.png": grey,
        "colour.png": grey.convert("RGB"),
        "palette.png": grey.convert("RGB").quantize(64),
        "alpha.png": grey.convert("RGBA"),
        "greyalpha.png": grey.convert("LA"),
        "cmyk.tif": grey.convert("RGB").convert("CMYK"),
        "deep.png": Image.fromarray(ramp.astype(np.uint16) * 257),
        "float.tif": Image.fromarray(ramp.astype(np.float32)),
    }
    for name, image in made.items():
        image.save(folder / name)
    return {name: folder / name for name in made}


def test_images_of_every_mode_look_the_same_in_the_end(tmp_path):
    paths = images_of_all_modes(tmp_path)
    wanted = read_image(paths["grey.png"], 32).astype(int)
    for name, path in paths.items():
        found = read_image(path, 32, find_levels([path]))
        assert found.shape == (32, 32, 3), name
        assert abs(found.astype(int) - wanted).mean() < 8, name


@pytest.mark.parametrize(
    ("kind", "values", "levels"),
    [
        (np.uint16, (250, 260), (0, 1023)),  # a dark image has no other rule than its neighbour
        (np.uint16, (100, 4000), (0, 4095)),
        (np.uint16, (100, 60_000), (0, 65535)),
        (np.int32, (0, 1_000_000), (0, 1_000_000)),
        (np.float32, (0.2, 1.0), (0, 1)),
        (np.float32, (0.2, 254.5), (0, 255)),
        (np.float32, (-3.0, 5.0), (-3, 5)),
    ],
)
def test_one_rule_for_a_data_set_tells_what_is_black_and_white(source, tmp_path, capsys, kind, values, levels):
    for at, value in enumerate(values):
        for copy in range(2):
            path = tmp_path / f"photos/{at}/{copy}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((40, 40), value, kind)).save(path)
    data = load(DataConfig(str(tmp_path / "photos")), source)
    assert data.levels == levels
    assert f"{levels[0]:g} becomes black, {levels[1]:g} white" in capsys.readouterr().out
    low, high = levels
    for part in (data.train, data.test):
        wanted = [round((values[label] - low) / (high - low) * 255) for label in part.labels.tolist()]
        assert part.images[:, 0, 0, 0].tolist() == wanted
    chosen = load(DataConfig(str(tmp_path / "photos"), range=(0.0, values[0] or 1.0)), source)
    assert chosen.train.images[chosen.train.labels == 1].min() == (255 if values[0] >= 0 else 0)


def test_a_range_that_changes_nothing_is_refused(source, photos, capsys):
    for data in (str(photos), "digits"):
        with pytest.raises(
            DataError, match="all images have 8 bits, which --range 0:4095 does not change; leave it out"
        ):
            load(DataConfig(data, range=(0.0, 4095.0)), source)
    classes = ("is 0", "is 1", "is 2")
    load(
        DataConfig(str(photos), range=(0.0, 4095.0)), source, classes
    )  # the range of a model, for images of other files
    assert "all images have 8 bits" in capsys.readouterr().out
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(photos / "is 0" / "deep.png")
    assert load(DataConfig(str(photos), range=(0.0, 4095.0)), source).levels == (0, 4095)


def test_what_is_transparent_becomes_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png", 4).min() == 255


def test_tiny_and_huge_images_end_well(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    assert read_image(tmp_path / "dot.png", 16).shape == (16, 16, 3)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(BrokenImageError, match=r"bomb\.png"):
        read_image(tmp_path / "bomb.png", 16)


def write_csv(photos: Path, path: Path) -> Path:
    with path.open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(["id", "shows", "patient"])
        for file in sorted(photos.rglob("*.png")):
            table.writerow([f"{file.parent.name}/{file.stem}", file.parent.name, int(file.stem) // 3])
    return path


def test_a_csv_file_names_images_without_their_ending_and_groups_stay_together(photos, source, tmp_path):
    table = write_csv(photos, tmp_path / "train.csv")
    data = load(DataConfig(str(table), images=photos, group="patient", holdout=0.3), source)
    assert data.classes == ("is 0", "is 1", "is 2")
    patients = [{int(Path(name).stem) // 3 for name in split.names} for split in (data.train, data.test)]
    assert patients[0].isdisjoint(patients[1])
    assert all(patients)


def test_a_typo_in_a_column_names_the_right_one(photos, source, tmp_path):
    table = write_csv(photos, tmp_path / "train.csv")
    with pytest.raises(DataError, match="did you mean 'shows'"):
        load(DataConfig(str(table), images=photos, label="show"), source)
    with pytest.raises(DataError, match=r"no image 'is 0/0'.*--images"):
        load(DataConfig(str(table), images=tmp_path), source)


def test_one_class_an_empty_class_and_classes_of_one_image_are_told(photos, source, tmp_path, capsys):
    (photos / "empty").mkdir()
    assert len(load(DataConfig(str(photos)), source).classes) == 3
    assert "skipping class 'empty'" in capsys.readouterr().out
    lonely = tmp_path / "lonely"
    shutil.copytree(photos / "is 0", lonely / "only")
    with pytest.raises(DataError, match="only one class"):
        load(DataConfig(str(lonely)), source)
    many = tmp_path / "many"
    for at in range(1000):
        (many / str(at)).mkdir(parents=True)
        shutil.copy(photos / "is 0" / "0.png", many / str(at))
    with pytest.raises(DataError, match="each image has a class of its own"):
        load(DataConfig(str(many)), source)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.floats(0.05, 0.9), st.integers(0, 99))
def test_a_split_keeps_every_class_and_loses_no_image(labels, share, seed):
    tensor = torch.tensor(labels)
    try:
        train, test = split(tensor, share, seed)
    except DataError:
        assert max(tensor.bincount()) == 1
        return
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(labels)))
    assert set(tensor[train].tolist()) == set(labels)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.text(min_size=1, max_size=3)), min_size=4, max_size=60, unique=True),
    st.integers(0, 99),
    st.data(),
)
def test_an_image_that_was_trained_on_stays_in_training_when_others_are_added(images, seed, data):
    before, share = data.draw(st.integers(2, len(images))), 0.3
    parts = []
    for count in (before, len(images)):
        labels, units = torch.tensor([label for label, _ in images[:count]]), [unit for _, unit in images[:count]]
        try:
            parts.append([set(part.tolist()) for part in split(labels, share, seed, units)])
        except DataError:
            return
    for at in parts[0][0] & parts[1][1]:  # only an image that a class had lent, because it had no other for training
        chances = [draw(seed, unit) for label, unit in images[:before] if label == images[at][0]]
        assert len(chances) == 1 or max(chances) < share


def test_a_model_is_never_tested_with_what_it_was_trained_on(photos, source, tmp_path, capsys):
    def read(**more: object) -> Dataset:
        return load(DataConfig(str(photos), **{"holdout": 0.3, **more}), source)  # type: ignore[arg-type]

    first = read()
    write_parts(tmp_path, first)
    assert same(drop_trained(read(), tmp_path), first)
    for at in range(20):
        shutil.copy(photos / "is 0/0.png", photos / f"is 0/more {at}.png")
    moved = next(Path(name) for name in first.train.names if "is 1" in name)
    moved.rename(photos / "is 2" / f"{moved.stem}-{moved.parent.name}.png")  # a label that was corrected
    for seed in range(3):
        later = drop_trained(read(holdout=0.8, seed=seed), tmp_path)
        assert not set(first.train.names) & set(later.test.names)
    assert "test images left out, because the model was trained on them" in capsys.readouterr().out
    with pytest.raises(DataError, match="trained on all"):
        drop_trained(replace(first, test=first.train), tmp_path)


def test_groups_stay_together_when_training_stops_early(photos, source, tmp_path):
    table = write_csv(photos, tmp_path / "train.csv")
    data = hold_out(load(DataConfig(str(table), images=photos, group="patient"), source), 0)
    patients = [{int(Path(name).stem) // 3 for name in split.names} for split in (data.train, data.test)]
    assert patients[0].isdisjoint(patients[1])
    assert all(patients)


def test_options_of_csv_files_are_refused_for_folders(photos, source):
    with pytest.raises(DataError, match="--group is for CSV files"):
        load(DataConfig(str(photos), group="patient"), source)


def photographs(folder: Path) -> Path:
    """Two classes of four smooth pictures, no two alike."""
    draw = np.random.default_rng(0)
    for at in range(8):
        small = Image.fromarray(draw.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        path = folder / "ab"[at % 2] / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small.resize((64, 64), Image.Resampling.BICUBIC).save(path)
    return folder


def test_the_same_picture_in_training_and_test_is_named_even_if_saved_again(source, tmp_path, capsys):
    folder = photographs(tmp_path / "train")
    for inside in sorted(folder.iterdir()):
        shutil.copytree(inside, tmp_path / "data/train" / inside.name)
        (tmp_path / "data/test" / inside.name).mkdir(parents=True)
    data, test = tmp_path / "data", tmp_path / "data/test"
    draw = np.random.default_rng(1)
    for name in "ab":
        small = Image.fromarray(draw.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(test / name / "own.png")
    assert len(load(DataConfig(str(data)), source).test) == 2
    assert "also in the test" not in capsys.readouterr().out
    Image.open(folder / "a/0.png").resize((80, 80)).save(test / "a/again.jpg", quality=70)
    shutil.copy(folder / "b/1.png", test / "a/wrong.png")
    assert len(load(DataConfig(str(data)), source).train) == 8
    said = capsys.readouterr().out
    assert "2 training images are also in the test, 1 of them labelled differently" in said
    assert "--dedupe leaves them out" in said
    assert "a/0.png = " in said
    left = load(DataConfig(str(data), dedupe=True), source)
    assert (len(left.train), len(left.test)) == (6, 4)
    assert "left out of training" in capsys.readouterr().out


def test_a_data_set_can_be_resized_and_shortened(digits):
    assert digits.resize(12).train.shape == (1, 12, 12)
    assert len(digits.shorten(100).train) == 100
    assert replace(digits).shorten(10**6) == digits


@pytest.mark.parametrize("count", [1, 2, 50])
def test_images_are_reordered_in_place_as_a_copy_would_be(count):
    draw = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, 3, 2, 2), generator=draw, dtype=torch.uint8)
    names = tuple(map(str, range(count)))
    whole, first = Split(images.clone(), torch.arange(count), names, names), torch.rand(count, generator=draw) < 0.7
    expected = [whole.take(each.nonzero().flatten()) for each in (first, ~first)]
    place = whole.images.data_ptr()
    for part, wanted in zip(whole.divide(first), expected, strict=True):
        assert torch.equal(part.images, wanted.images)
        assert torch.equal(part.labels, wanted.labels)
        assert (part.names, part.units) == (wanted.names, wanted.units)
        assert not len(part.images) or place <= part.images.data_ptr() < place + images.nbytes
