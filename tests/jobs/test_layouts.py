"""Folders as people download them: split, flat, named by their files, from Kaggle, or labelled by a function."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from jobs.config.data import DataConfig, recall
from jobs.data import load
from jobs.errors import DataError


def draw(folder: Path, *names: str) -> None:
    """Write small pictures, each of another colour."""
    for at, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (37 * at % 256, len(name) * 11 % 256, hash_of(name))).save(path)


def hash_of(name: str) -> int:
    return sum(name.encode()) % 256


def several(pattern: str, count: int = 6) -> list[str]:
    return [pattern.format(at) for at in range(count)]


def units(split) -> set[str]:
    return set(split.units)


def test_a_test_folder_without_classes_is_left_for_predictions(tmp_path, capsys):
    draw(tmp_path, *several("train/cat/{}.png"), *several("train/dog/{}.png"))
    draw(tmp_path, "valid/cat/v.png", "valid/dog/w.png", *several("test/{}.png"))
    data = load(DataConfig(str(tmp_path)))
    assert units(data.test) == {"v.png", "w.png"}
    assert not data.held_out
    assert "6 images without classes in test/" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "valid")
    data = load(DataConfig(str(tmp_path)))
    assert data.held_out
    assert len(data.train) + len(data.test) == 12


@pytest.mark.parametrize("inside", ["test/images/1.png", "test/unknown/1.png", "test/1.png"])
def test_a_test_folder_is_without_classes_however_its_images_are_nested(tmp_path, inside):
    draw(tmp_path, *several("train/cat/{}.png"), *several("train/dog/{}.png"), inside)
    assert load(DataConfig(str(tmp_path))).classes == ("cat", "dog")


def test_a_test_folder_with_other_classes_is_no_folder_without_classes(tmp_path):
    draw(tmp_path, *several("train/cat/{}.png"), *several("train/dog/{}.png"), "test/Cat/1.png", "test/Dog/1.png")
    with pytest.raises(DataError, match="does not have these classes: Cat, Dog"):
        load(DataConfig(str(tmp_path)))


def test_of_two_labelled_folders_the_one_that_is_not_used_is_named(tmp_path, capsys):
    draw(tmp_path, *several("train/cat/{}.png"), *several("train/dog/{}.png"))
    draw(tmp_path, "valid/cat/v.png", "valid/dog/v.png", "test/cat/t.png", "test/dog/t.png")
    assert units(load(DataConfig(str(tmp_path))).test) == {"t.png"}
    assert "testing with test/; valid/ is not used" in capsys.readouterr().out


def test_a_class_may_be_called_train_or_test(tmp_path):
    draw(tmp_path, *several("train/{}.png"), *several("plane/{}.png"), *several("test/{}.png"))
    data = load(DataConfig(str(tmp_path)))
    assert data.classes == ("plane", "test", "train")
    assert data.held_out


def test_a_folder_of_images_alone_says_how_to_label_them(tmp_path):
    draw(tmp_path, *several("cat.{}.png"), *several("dog.{}.png"))
    with pytest.raises(DataError, match="--label-from"):
        load(DataConfig(str(tmp_path)))


@pytest.mark.parametrize(
    ("names", "pattern", "classes"),
    [
        (("cat.{}.png", "dog.{}.png"), r"^(\w+)\.", ("cat", "dog")),
        (("great_pyrenees_{}.png", "Birman_{}.png"), r"^(.+)_\d+", ("Birman", "great_pyrenees")),
        (("deep/Birman_{}.png", "deep/pug_{}.png"), "cats-uppercase", ("cat", "dog")),
        (("2024/cat/{}.png", "2025/dog/{}.png"), r"/(\w+)/", ("cat", "dog")),
        (("x_cat_{}.png", "x_dog_{}.png"), r"_(?P<label>\w+?)_", ("cat", "dog")),
        (("a_cat_{}.png", "b_dog_{}.png"), "cat|dog", ("cat", "dog")),
    ],
)
def test_a_label_is_read_from_the_name(tmp_path, names, pattern, classes):
    for name in names:
        draw(tmp_path, *several(name))
    data = load(DataConfig(str(tmp_path), label_from=pattern))
    assert data.classes == classes
    for split in (data.train, data.test):
        for label, name in zip(split.labels.tolist(), split.names, strict=True):
            first = [n for n in names if Path(n).name[:2] == Path(name).name[:2] or n[:4] in name]
            assert first or data.classes[label] in name
    assert len(data.train) + len(data.test) == 12


def test_names_without_a_label_are_left_out_in_one_line(tmp_path, capsys):
    draw(tmp_path, *several("cat.{}.png"), *several("dog.{}.png"), "thumbs.png")
    data = load(DataConfig(str(tmp_path), label_from=r"^(cat|dog)"))
    assert len(data.train) + len(data.test) == 12
    assert "1 image skipped, without a class: thumbs.png" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"thumbs\.png"):
        load(DataConfig(str(tmp_path), label_from=r"^(cat|dog)", strict=True))
    with pytest.raises(DataError, match=r"no name fits --label-from '\^x'"):
        load(DataConfig(str(tmp_path), label_from="^x"))
    with pytest.raises(DataError, match="not a regular expression"):
        load(DataConfig(str(tmp_path), label_from="("))


def test_labels_from_names_know_train_and_a_test_without_labels(tmp_path, capsys):
    draw(tmp_path, *several("train/cat.{}.png"), *several("train/dog.{}.png"), *several("test1/{}.png"))
    draw(tmp_path, *several("test/{}.png"))
    data = load(DataConfig(str(tmp_path), label_from=r"^(cat|dog)\."))
    assert (data.held_out, data.classes) == (True, ("cat", "dog"))
    assert "6 images without classes in test/" in capsys.readouterr().out


def test_cats_uppercase_takes_no_digit_for_a_dog(tmp_path, capsys):
    draw(tmp_path, *several("Cat{}.png"), *several("dog{}.png"), "1.png")
    data = load(DataConfig(str(tmp_path), label_from="cats-uppercase"))
    assert len(data.train) + len(data.test) == 12
    assert "without a class: 1.png" in capsys.readouterr().out


def test_a_kaggle_folder_is_read_by_its_table(tmp_path, capsys):
    draw(tmp_path, *several("train/{}.png", 12), *several("test/{}.png"))
    (tmp_path / "train.csv").write_text("id,breed\n" + "".join(f"{at},{'ab'[at % 2]}\n" for at in range(12)))
    (tmp_path / "sample_submission.csv").write_text("id,a,b\n0,0.5,0.5\n")
    (tmp_path / "test.csv").write_text("id,width\n0,9\n")
    data = load(DataConfig(str(tmp_path)))
    assert data.classes == ("a", "b")
    assert {Path(name).parent.name for name in (*data.train.names, *data.test.names)} == {"train"}
    said = capsys.readouterr().out
    assert "classes from train.csv" in said
    assert "6 images without classes in test/" in said
    (tmp_path / "labels.csv").write_text("id,breed\n0,a\n")
    with pytest.raises(DataError, match=r"labels\.csv, train\.csv; choose one: --data .*labels\.csv --images .*train"):
        load(DataConfig(str(tmp_path)))


def test_a_function_in_a_file_labels_images(tmp_path):
    draw(tmp_path / "images", *several("{}.png", 12))
    script = tmp_path / "labels.py"
    script.write_text("def label_of(path):\n    return 'even' if int(path.stem) % 2 == 0 else 'odd'\n")
    data = load(DataConfig(str(tmp_path / "images"), label_from=f"{script}:label_of"))
    assert data.classes == ("even", "odd")
    for text, reason in (
        ("def label_of(path):\n    return path.missing\n", r"label_of\(.*png\): .*no attribute"),
        ("def label_of(path) return\n", "labels.py"),
        ("label = 3\n", "no function 'label_of'"),
    ):
        script.write_text(text)
        with pytest.raises(DataError, match=reason):
            load(DataConfig(str(tmp_path / "images"), label_from=f"{script}:label_of"))


def test_a_function_that_a_file_names_is_never_run(tmp_path):
    record = tmp_path / "args.json"
    record.write_text('{"data": "photos", "label_from": "labels.py:label_of"}')
    with pytest.raises(DataError, match=r"--label-from labels\.py:label_of"):
        recall(DataConfig(), record)
    record.write_text('{"data": "photos", "label_from": "^(cat|dog)"}')
    assert recall(DataConfig(), record).label_from == "^(cat|dog)"
    typed = recall(DataConfig(label_from="labels.py:label_of"), record)
    assert (typed.data, typed.label_from) == ("photos", "labels.py:label_of")


def test_label_from_is_for_folders(tmp_path):
    with pytest.raises(DataError, match="--label-from is for folders"):
        load(DataConfig("digits", label_from="x"))
