"""Each classifier of torchvision is trained, saved and used from the command line, with its last layer replaced."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONTEXT, PINNED
from PIL import Image
from torchvision import models

from jobs import finetune, predict
from jobs.config.data import DataConfig
from jobs.config.recipe import Recipe
from jobs.data import load
from jobs.errors import TrainingError
from jobs.models import build
from jobs.models.classifier import find_head
from jobs.models.modelfile import Facts, load_model, save_model
from jobs.models.networks import bare, check_size, fixed_size
from jobs.train import main
from jobs.training.evaluation import evaluate
from jobs.training.head import train_head

ALL = models.list_models(module=models)
QUICK = ["squeezenet1_1", "googlenet", "mobilenet_v3_small"]
NAMES = ALL if os.environ.get("TORCHVISION") == "all" else QUICK


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photographs in two classes; their size is no network's."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for at in range(4):
            noise = draw.integers(0, 256, (150, 200, 3)).astype(np.uint8)
            Image.fromarray(noise).save(folder / name / f"{at}.jpg")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_torchvision_trains_and_its_file_says_what_it_said(name, pictures, tmp_path, monkeypatch):
    words = ["--data", str(pictures), "--model", name, "--epochs", "1", "--batch-size", "2", "--optimizer", "sgd"]
    main([*words, *PINNED, "--lr", "0.0001", "--out", str(tmp_path)])
    model, facts = load_model(tmp_path)
    head = find_head(model)
    assert getattr(head, "out_features", None) or head.out_channels == 2
    data = load(DataConfig(str(pictures), size=facts.shape[1]))
    assert evaluate(model, data.test) == facts.accuracy
    predict.main([str(tmp_path), str(pictures), "--out", str(tmp_path / "predictions.csv")])
    for path in tmp_path.rglob("*.*"):  # the largest networks take gigabytes
        if path.suffix in (".safetensors", ".pt"):
            path.unlink()


def test_fine_tuning_squeezenet_trains_a_last_layer_that_is_a_convolution(pictures, tmp_path):
    torch.manual_seed(0)
    data = load(DataConfig(str(pictures), size=64))
    model = build("squeezenet1_1", data)
    train_head(model, data, CONTEXT, Recipe(seed=0, flip=False))
    assert evaluate(model, data.train) == 1.0  # what is learned from the features is what the network then says
    weights = tmp_path / "squeezenet.pth"
    torch.save(models.squeezenet1_1(weights=None).state_dict(), weights)
    words = ["--data", str(pictures), "--size", "64", "--model", "squeezenet1_1", "--weights", str(weights)]
    finetune.main([*words, *PINNED, "--epochs", "1", "--batch-size", "4", "--out", str(tmp_path / "out")])


def test_weights_with_auxiliary_classifiers_are_loaded_without_them_and_keep_their_normalization(pictures, tmp_path):
    published = models.googlenet(weights=None, aux_logits=True, transform_input=True, init_weights=False).eval()
    torch.save(published.state_dict(), tmp_path / "googlenet.pth")
    data = load(DataConfig(str(pictures), size=64))
    model = build("googlenet", data, tmp_path / "googlenet.pth").eval()
    seen = []
    for net in (model.net, published):
        net.inception5b.register_forward_hook(lambda *given: seen.append(given[2]))
    images = model.normalise(data.test.images)
    with torch.no_grad():
        model.net(images)
        published(images)
    assert torch.equal(*seen)


def test_a_network_that_checks_the_version_of_its_weights_is_saved_and_loaded(tmp_path):
    model = bare("mnasnet0_5", (3, 64, 64), 2)
    save_model(tmp_path / "model.safetensors", model, Facts("mnasnet0_5", ("a", "b"), (3, 64, 64), "none", 0.5))
    kept, loaded = model.state_dict(), load_model(tmp_path)[0].state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in kept.items())


def test_a_network_that_takes_one_size_gets_it_and_a_size_that_does_not_fit_names_another():
    assert (fixed_size("vit_b_16", pretrained=False), fixed_size("maxvit_t", pretrained=True)) == (224, 224)
    assert fixed_size("vit_h_14", pretrained=True) == 518
    assert fixed_size("resnet18", pretrained=True) == 0
    check_size("resnet18", (1, 8, 8))
    check_size("regnet_y_400mf", (3, 128, 128))
    for name, side, hint in (("vit_b_32", 48, 32), ("alexnet", 28, 64)):
        with pytest.raises(
            TrainingError, match=f"^{name} cannot take images of {side} x {side} pixels; try --size {hint}$"
        ):
            check_size(name, (1, side, side))
