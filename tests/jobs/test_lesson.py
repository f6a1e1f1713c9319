"""The lessons' exercise: what is right passes, and what is plausible but wrong is refused with a line that helps."""

import json
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.conftest import REPOSITORY

LESSON = REPOSITORY / "lesson"


def load(name: str) -> ModuleType:
    """Import a file of the lesson, which is in no package."""
    spec = spec_from_file_location(f"lesson_{name}", LESSON / f"{name}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def right(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for weight in network.parameters():
            weight -= rate * weight.grad
            weight.grad = None
    return loss


def right_in_the_old_way(network, images, labels, rate):
    network.zero_grad()
    loss = cross_entropy(network(images), labels)
    loss.backward()
    for weight in network.parameters():
        weight.data = weight.data - rate * weight.grad
    return loss.item()


def returns_nothing(network, images, labels, rate):
    right(network, images, labels, rate)


def returns_the_loss_after(network, images, labels, rate):
    right(network, images, labels, rate)
    return cross_entropy(network(images), labels)


def never_goes_backward(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    with torch.no_grad():
        for weight in network.parameters():
            weight -= rate * weight.grad
    return loss


def predicts_without_recording(network, images, labels, rate):
    with torch.no_grad():
        return right(network, images, labels, rate)


def updates_while_recording(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    for weight in network.parameters():
        weight -= rate * weight.grad
    return loss


def only_renames(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    for weight in network.parameters():
        weight = weight - rate * weight.grad
    return loss


def zeroes_too_early(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    network.zero_grad(set_to_none=False)
    with torch.no_grad():
        for weight in network.parameters():
            weight -= rate * weight.grad
    return loss


def moves_one_weight(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        weight = next(network.parameters())
        weight -= rate * weight.grad
    return loss


def replaces_the_weights(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    for layer in (network[1], network[3]):
        layer.weight = nn.Parameter(layer.weight - rate * layer.weight.grad)
        layer.bias = nn.Parameter(layer.bias - rate * layer.bias.grad)
    return loss


def goes_uphill(network, images, labels, rate):
    return right(network, images, labels, -rate)


def forgets_the_rate(network, images, labels, rate):
    return right(network, images, labels, 1)


def doubles_the_rate(network, images, labels, rate):
    return right(network, images, labels, 2 * rate)


def never_forgets_gradients(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for weight in network.parameters():
            weight -= rate * weight.grad
    return loss


def has_momentum(network, images, labels, rate):
    loss = cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for weight in network.parameters():
            weight -= rate * weight.grad
            weight.grad *= 0.9
    return loss


WRONG = {
    returns_nothing: "return loss",
    returns_the_loss_after: "before the step is",
    never_goes_backward: "call backward()",
    predicts_without_recording: "only the update belongs inside `torch.no_grad()`",
    updates_while_recording: "inside `with torch.no_grad():`",
    only_renames: "No weight has changed",
    zeroes_too_early: "before the update moves nothing",
    moves_one_weight: "Loop over all of network.parameters()",
    replaces_the_weights: "The network has other weights now",
    goes_uphill: "Subtract it",
    forgets_the_rate: "multiply each gradient by rate",
    doubles_the_rate: "not by rate times their gradients",
    never_forgets_gradients: "Forget the old ones",
    has_momentum: "What does your function keep",
}


@pytest.mark.parametrize("solution", [right, right_in_the_old_way])
def test_a_right_solution_passes_and_a_network_learns_with_it(solution, capsys):
    assert load("test_step").check(solution)
    said = capsys.readouterr().out
    assert said.count("right    ") == 4
    assert "not yet" not in said


@pytest.mark.parametrize("solution", WRONG, ids=[solution.__name__ for solution in WRONG])
def test_a_wrong_solution_is_refused_with_what_to_look_at(solution: Callable[..., object], capsys):
    assert not load("test_step").check(solution)
    assert WRONG[solution] in capsys.readouterr().out


def test_a_solution_that_passes_each_step_but_does_not_learn_is_refused(monkeypatch, capsys):
    check = load("test_step")
    monkeypatch.setattr(check, "ENOUGH", 1.01)
    assert not check.check(right)
    assert "it should be 101% or more" in capsys.readouterr().out


def test_the_empty_exercise_says_where_to_begin(capsys):
    assert not load("test_step").check(load("take_step").take_step)
    assert "It is still empty. Open take_step.py" in capsys.readouterr().out


def test_an_error_of_its_own_is_shown_as_it_is():
    def misspelt(network, images, labels, rate):
        return networkk(images)  # noqa: F821

    with pytest.raises(NameError, match="networkk"):
        load("test_step").check(misspelt)


def read_cells() -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads((LESSON / "lessons.ipynb").read_text())["cells"]]


def test_the_notebook_runs_programs_that_exist():
    lines = [line.split() for cell in read_cells() for line in cell.splitlines()]
    scripts = [words[1] for words in lines if words[:1] == ["%run"]]
    modules = [words[2] for words in lines if words[:2] == ["!python", "-m"]]
    assert (len(scripts), len(modules)) == (3, 3)
    assert all((LESSON / name).is_file() for name in scripts)  # %run takes the options of a module for its own
    assert all((REPOSITORY / f"{name.replace('.', '/')}.py").is_file() for name in modules)


def test_the_exercise_is_the_same_in_the_notebook():
    cells = read_cells()
    [cell] = [cell for cell in cells if "def take_step" in cell]
    assert cell.partition("\n    ")[0] in (LESSON / "take_step.py").read_text()


def test_photographs_are_collected_by_class_and_a_missing_package_is_named(tmp_path: Path):
    photos = load("photos")
    for name in ("birds/owl.png", "birds/cartoon/tux.png", "mammals/bears/bear.png", "marsupials/koala.png"):
        path = tmp_path / "stamps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert photos.collect(tmp_path / "stamps", tmp_path / "photos") == 3
    found = sorted(str(path.relative_to(tmp_path / "photos")) for path in (tmp_path / "photos").rglob("*.png"))
    assert found == ["bird/owl.png", "mammal/bear.png", "mammal/koala.png"]
    assert photos.collect(tmp_path / "nothing", tmp_path / "others") == 0
    assert not (tmp_path / "others").exists()
