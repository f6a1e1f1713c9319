"""How images become squares, what training changes in them, and that a run remembers both."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FIXED, PINNED, same, settings, weights
from PIL import Image

from jobs import finetune, predict, train
from jobs.config.data import DataConfig
from jobs.config.recipe import Recipe
from jobs.data import load
from jobs.errors import DataError
from jobs.images.decoding import Square, read_image
from jobs.models.modelfile import load_model
from jobs.tasks.single import weigh_classes
from jobs.training.pipeline import hold_out

CHANGES = (
    "--flip",
    "--rotate",
    "20",
    "--warp",
    "0.2",
    "--lighting",
    "0.3",
    "--resized-crop",
    "0.5",
    "--trivial-augment",
)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A picture three times as wide as high: red, green, blue."""
    pixels = np.zeros((20, 60, 3), np.uint8)
    for at in range(3):
        pixels[:, 20 * at : 20 * at + 20, at] = 255
    path = tmp_path / "wide.png"
    Image.fromarray(pixels).save(path)
    return path


def colours(pixels: np.ndarray) -> list[list[int]]:
    """Return the colours at the left, in the middle and at the right of the middle row."""
    middle = pixels[len(pixels) // 2]
    return [middle[at].tolist() for at in (1, len(middle) // 2, -2)]


def test_a_crop_is_the_centre_a_squish_is_all_and_a_pad_has_borders(wide):
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    assert colours(read_image(wide, 20)) == [green] * 3
    assert colours(read_image(wide, 20, square=Square("squish"))) == [red, green, blue]
    padded = read_image(wide, 21, square=Square("pad"))
    assert colours(padded) == [red, green, blue]
    assert padded[0].tolist() == padded[-1].tolist() == [[128] * 3] * 21
    sharp, soft = (read_image(wide, 10, square=Square("squish", how)) for how in ("bicubic", "bilinear"))
    assert not np.array_equal(sharp, soft)


def test_a_model_remembers_how_its_images_became_squares(tmp_path):
    for name, left in (("red", 0), ("blue", 80)):  # told apart at the sides only
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((20, 100, 3), 10 * number, np.uint8)
            pixels[:, left : left + 20] = 255
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    words = ["--data", str(tmp_path / "data"), "--model", "mean-image", "--size", "16", "--device", "cpu"]
    assert train.main([*words, "--out", str(tmp_path / "crop")]) < 1
    assert train.main([*words, "--resize", "squish", "--out", str(tmp_path / "squish")]) == 1
    assert load_model(tmp_path / "squish")[1].square == Square("squish")
    found = predict.main([str(tmp_path / "squish"), str(tmp_path / "data" / "red"), str(tmp_path / "data" / "blue")])
    assert [found.rank(at, 1)[0][0] for at in range(16)] == ["red"] * 8 + ["blue"] * 8


def test_images_that_are_held_larger_are_trained_on_and_tested_at_their_size(photos, tmp_path):
    data = load(DataConfig(str(photos), size=8, presize=16))
    assert (data.train.shape, data.test.shape, data.shape) == ((1, 16, 16), (1, 8, 8), (1, 8, 8))
    with pytest.raises(DataError, match="needs a smaller --size"):
        load(DataConfig(str(photos), presize=16))
    words = ["--data", str(photos), "--size", "8", "--presize", "16", "--batch-size", "8", "--epochs", "1", *PINNED]
    train.main([*words, "--out", str(tmp_path / "run")])
    assert load_model(tmp_path / "run")[1].shape == (1, 8, 8)
    assert hold_out(data, 0).shape == (1, 8, 8)
    weights = ["--weights", str(tmp_path / "run" / "model.safetensors"), *CHANGES]
    finetune.main([*words, *weights, "--out", str(tmp_path / "tuned")])


def test_a_resumed_run_changes_images_as_one_that_was_never_interrupted(few_files, tmp_path):
    words = ["--data", str(few_files), "--model", "lenet", "--batch-size", "64", *PINNED, *CHANGES]
    train.main([*words, "--epochs", "2", "--schedule", "constant", "--out", str(tmp_path / "whole")])
    train.main([*words, "--epochs", "1", "--schedule", "constant", "--out", str(tmp_path / "parts")])
    train.main(
        [*words, "--epochs", "2", "--schedule", "constant", "--out", str(tmp_path / "parts"), "--resume", "auto"]
    )
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_rare_classes_weigh_more_and_all_images_one_on_average(few):
    labels = torch.tensor([0] * 8 + [1] * 2)
    weights = weigh_classes(labels, 3)
    assert weights[:2].tolist() == [0.625, 2.5]
    assert weights[labels].mean() == 1


def test_weighted_classes_find_what_is_rare(tmp_path, digits, photos):
    for each in sorted((photos / "is 1").iterdir())[3:]:
        each.unlink()
    changed = settings(tmp_path / "b", "linear", photos, epochs=1, batch_size=8, class_weights=True)
    plain = settings(tmp_path / "a", "linear", photos, epochs=1, batch_size=8)
    train.run(plain)
    train.run(changed)
    assert not same(tmp_path / "a", tmp_path / "b")
    assert Recipe(**FIXED).class_weights is False


def test_the_rate_for_fine_tuning_is_found_after_the_last_layer_was_trained(trained, few_files, tmp_path, capsys):
    words = ["--data", few_files, "--model", "small", "--weights", trained / "model.safetensors", "--batch-size", "64"]
    finetune.main([*map(str, words), *PINNED, "--lr-find", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.index("trained the last layer") < said.index("try --lr")
    assert (tmp_path / "lr-find.png").is_file()


def test_for_some_epochs_only_the_last_layer_is_trained(trained, few_files, tmp_path, capsys):
    words = ["--data", few_files, "--model", "small", "--weights", trained / "model.safetensors", "--batch-size", "64"]
    words += ["--head-only", "--freeze-epochs", "2", "--rotate", "10"]
    finetune.main([*map(str, words), *PINNED, "--out", str(tmp_path)])
    assert "last layer: epoch 2/2" in capsys.readouterr().out
    before, after = weights(trained), weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed - {"mean", "std"} == {"net.4.weight", "net.4.bias"}
