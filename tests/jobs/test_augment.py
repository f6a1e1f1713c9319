"""Random numbers follow from seed, step and image alone; images are shifted, mirrored, zoomed and erased as they say."""

import pytest
import torch
from conftest import Operations
from torch import Tensor

from jobs.augment.changes import change, mix
from jobs.augment.draws import PURPOSES, Draws, draws
from jobs.config.recipe import Recipe

CPU = torch.device("cpu")


def numbers(seed: int, steps: range, batch: int, rank: int = 0, world: int = 1) -> Tensor:
    """Return all numbers of these steps: (steps, images, columns)."""
    found = draws(seed, steps, batch, CPU, rank, world)
    return torch.stack([torch.cat([each.numbers[purpose] for purpose in PURPOSES], dim=1) for each in found])


def test_numbers_are_the_same_wherever_a_run_starts_and_in_however_many_processes():
    whole = numbers(3, range(150), 12)
    assert torch.equal(numbers(3, range(70, 150), 12), whole[70:])
    assert torch.equal(numbers(3, range(75), 24), whole.view(75, 24, -1))
    shares = [numbers(3, range(150), 12, rank, 3) for rank in range(3)]
    assert torch.equal(torch.cat(shares, dim=1), whole)
    ahead, behind = ([each.step.random() for each in draws(3, range(start, 90), 12, CPU)] for start in (0, 80))
    assert ahead[80:] == behind


def test_numbers_are_even_and_tell_nothing_of_each_other():
    found = numbers(0, range(100), 500)
    columns = torch.cat([found.flatten(0, 1).T, numbers(1, range(100), 500).flatten(0, 1).T])
    assert 0 <= columns.min() <= columns.max() < 1
    for column in columns:  # 50,000 numbers in 50 bins: chi-square with 49 degrees of freedom
        counts = column.histc(50, 0, 1)
        assert ((counts - 1000) ** 2 / 1000).sum() < 100
    neighbours = torch.cat([columns, columns.roll(1, dims=1), columns.roll(500, dims=1)])
    between = neighbours.corrcoef() - torch.eye(len(neighbours))
    assert between.abs().max() < 5 / 50_000**0.5


def test_numbers_of_many_steps_take_few_operations():
    with Operations() as operations:
        list(draws(0, range(64), 100, CPU))
    assert sum(operations.counts.values()) < 64


def fixed(images: int, **values: list[float]) -> Draws:
    """Return draws whose numbers are these for each image."""
    found = {purpose: torch.tensor(values.get(purpose, [0.5] * wide)) for purpose, wide in PURPOSES.items()}
    return Draws(
        {purpose: value.expand(images, -1) for purpose, value in found.items()}, next(draws(0, range(1), 2, CPU)).step
    )


@pytest.fixture
def images() -> Tensor:
    return torch.arange(2 * 3 * 6 * 8).view(2, 3, 6, 8).to(torch.uint8)


def test_images_are_shifted_and_mirrored(images):
    shifted = change(images, Recipe(crop=2), fixed(2, shift=[0.9, 0.5]))  # two rows, no column
    assert torch.equal(shifted[:, :, :4], images[:, :, 2:])
    assert torch.equal(shifted[:, :, 4:], images[:, :, 3:5].flip(2)), "the border is reflected"
    assert torch.equal(change(images, Recipe(flip=True), fixed(2, mirror=[0.4])), images.flip(3))
    assert torch.equal(change(images, Recipe(flip=True), fixed(2, mirror=[0.6])), images)
    both = change(images, Recipe(flip=True, crop=1), fixed(2, mirror=[0.4], shift=[0.5, 0.9]))
    assert torch.equal(both[..., 1:], images.flip(3)[..., :-1])


def test_a_square_is_enlarged_and_a_rectangle_erased(images):
    whole = change(images, Recipe(zoom=0.5), fixed(2, side=[0.0]))
    assert torch.allclose(whole, images.float(), atol=1e-3)
    corner = change(images, Recipe(zoom=0.5), fixed(2, side=[0.99999], place=[0.0, 0.0]))
    assert (corner[:, :, 0, 0] - images[:, :, 0, 0].float()).abs().max() < 1
    assert (corner[:, :, -1, -1] - images[:, :, 2, 3].float()).abs().max() < 10
    erased = change(images, Recipe(erase=0.25), fixed(2, area=[0.99999], corner=[0.0, 0.0]))
    assert (erased[:, :, :3, :4] == 128).all()
    assert torch.equal(erased[:, :, 3:], images[:, :, 3:])
    assert torch.equal(erased[..., 4:], images[..., 4:])


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_targets_say_how_much_of_each_class_is_in_a_mixed_image(name):
    black_and_white = torch.stack([torch.zeros(1, 16, 16), torch.full((1, 16, 16), 255.0)])
    for draw in draws(0, range(5), 2, CPU):
        found, targets = mix(black_and_white, torch.tensor([0, 1]), 2, Recipe(**{name: 1.0}), draw)
        assert torch.allclose(found.mean(dim=(1, 2, 3)) / 255, targets[:, 1], atol=1e-5)
