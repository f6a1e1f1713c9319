"""Random numbers follow from seed, step and image alone; images are shifted, mirrored, zoomed and erased as they say."""

import pytest
import torch
from conftest import Operations
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from jobs.augment.changes import change, mix
from jobs.augment.draws import PURPOSES, Draws, draws
from jobs.augment.operations import MOVES, OPERATIONS
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


def photograph(count: int = 2) -> Tensor:
    """Return a smooth picture, in which a wrong turn is not lost among the pixels: (N, 3, 32, 32)."""
    across, down = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="xy")
    return (torch.stack([across, down, across * down]) * 200 + 20).round().to(torch.uint8).expand(count, -1, -1, -1)


def test_an_image_is_turned_as_torchvision_turns_it():
    found = change(photograph(), Recipe(rotate=30), fixed(2, turn=[1.0]))
    wanted = v2.functional.rotate(photograph().float(), 30, interpolation=v2.InterpolationMode.BILINEAR)
    assert (found - wanted)[..., 8:-8, 8:-8].abs().max() < 1


def test_a_tilt_is_none_in_the_middle_and_opposite_at_the_sides():
    level = change(photograph(), Recipe(warp=0.3), fixed(2))
    assert (level - photograph()).abs().max() < 1
    tilted = change(photograph(), Recipe(warp=0.3), fixed(2, tilt=[1.0, 0.5])) - photograph().float()
    assert tilted[0, 1, 15:17, 15:17].abs().max() < 3
    assert tilted[0, 1, 4, 28] * tilted[0, 1, 4, 3] < 0  # what grows at one side shrinks at the other


def test_a_resized_crop_is_within_the_image_and_of_the_wanted_size():
    for share in ([0.0, 0.0], [0.0, 1.0], [1.0, 0.5]):
        found = change(photograph(), Recipe(resized_crop=0.25), fixed(2, share=share, place=[0.0, 0.0]), size=16)
        assert found.shape == (2, 3, 16, 16)
        assert (found[0, :, 0, 0] - 20).abs().max() < 8  # its corner is the image's
    tall = change(photograph(), Recipe(resized_crop=0.25), fixed(2, share=[0.0, 0.0], place=[0.0, 0.0]))
    assert tall[0, 0, 0, -1] < tall[0, 1, -1, 0]  # narrower than high


def test_a_larger_image_is_scaled_whole_without_other_changes():
    found = change(photograph(), Recipe(), fixed(2), size=16)
    wanted = interpolate(photograph().float(), (16, 16), mode="bilinear", antialias=True)
    assert torch.equal(found, wanted)


def test_lighting_keeps_a_grey_image_grey_and_never_leaves_the_range():
    dark = change(photograph(), Recipe(lighting=0.5), fixed(2, light=[0.0, 0.5]))
    assert dark.mean() == pytest.approx(photograph().float().mean().item() * 0.5, rel=0.02)
    flat = change(photograph(), Recipe(lighting=0.5), fixed(2, light=[0.5, 0.0]))
    assert flat.std() < 0.6 * photograph().float().std()
    assert change(photograph(), Recipe(lighting=0.9), fixed(2, light=[1.0, 1.0])).max() <= 255


TORCHVISION = {
    "identity": lambda images, _: images,
    "brightness": lambda images, factor: v2.functional.adjust_brightness(images, factor),
    "colour": lambda images, factor: v2.functional.adjust_saturation(images, factor),
    "contrast": lambda images, factor: v2.functional.adjust_contrast(images, factor),
    "sharpness": lambda images, factor: v2.functional.adjust_sharpness(images, factor),
    "posterize": lambda images, _: v2.functional.posterize(images, 5),
    "solarize": lambda images, _: v2.functional.solarize(images, 127.5),
    "autocontrast": lambda images, _: v2.functional.autocontrast(images),
    "equalize": lambda images, _: v2.functional.equalize(images),
}


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("sign", [0.2, 0.8])
def test_a_change_of_colours_is_that_of_torchvision(name, sign):
    which = (OPERATIONS.index(name) + 0.5) / len(OPERATIONS)
    draw = fixed(2, which=[which], strength=[0.5], sign=[sign])
    found = change(photograph(), Recipe(trivial_augment=True), draw)
    wanted = TORCHVISION[name](photograph(), 1 + (-0.495 if sign < 0.5 else 0.495)).float()
    assert (found - wanted)[..., 1:-1, 1:-1].abs().max() < 2.5
    if name != "identity":
        assert (found - photograph()).abs().max() > 1


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("sign", [0.2, 0.8])
def test_each_change_of_rand_augment_is_that_of_torchvision_at_its_strength(name, sign):
    draw = fixed(2, first=[(OPERATIONS.index(name) + 0.5) / len(OPERATIONS), sign], second=[0.01, 0.5])  # then identity
    found = change(photograph(), Recipe(rand_augment=15), draw)
    factor = 1 + (-0.45 if sign < 0.5 else 0.45)
    wanted = (
        v2.functional.posterize(photograph(), 6) if name == "posterize" else TORCHVISION[name](photograph(), factor)
    )
    assert (found - wanted.float())[..., 1:-1, 1:-1].abs().max() < 2.5


def test_rand_augment_changes_twice_and_turns_half_as_far_at_half_the_strength():
    first, second = ((OPERATIONS.index(name) + 0.5) / len(OPERATIONS) for name in ("brightness", "solarize"))
    found = change(photograph(), Recipe(rand_augment=10), fixed(2, first=[first, 0.2], second=[second, 0.2]))
    darker = v2.functional.adjust_brightness(photograph(), 0.7)
    assert (found - v2.functional.solarize(darker, 170).float()).abs().max() < 2.5
    turn = (OPERATIONS.index("rotate") + 0.5) / len(OPERATIONS)
    turned = change(photograph(), Recipe(rand_augment=15), fixed(2, first=[0.01, 0.5], second=[turn, 0.8]))
    assert torch.allclose(turned, change(photograph(), Recipe(rotate=15), fixed(2, turn=[1.0])), atol=0.5)


@pytest.mark.parametrize("name", MOVES)
def test_a_move_changes_the_place_and_not_the_colours(name):
    draw = fixed(2, which=[(OPERATIONS.index(name) + 0.5) / len(OPERATIONS)], strength=[0.3], sign=[0.8])
    found = change(photograph(), Recipe(trivial_augment=True), draw)
    assert (found - photograph()).abs().max() > 5
    assert found.min() >= 20
    assert found.max() <= 221


@pytest.mark.parametrize("name", ["trivial_augment", "rand_augment"])
def test_each_image_of_a_batch_has_its_own_change_and_nothing_waits_for_it(name):
    (draw,) = draws(0, range(1), 64, CPU)
    with Operations() as operations:
        found = change(photograph(64), Recipe(**{name: 9}, rotate=10, warp=0.2, lighting=0.2), draw)  # type: ignore[arg-type]
    assert operations.waits == 0
    assert len({bytes(image.round().byte().flatten().tolist()) for image in found}) > 50


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_targets_say_how_much_of_each_class_is_in_a_mixed_image(name):
    black_and_white = torch.stack([torch.zeros(1, 16, 16), torch.full((1, 16, 16), 255.0)])
    for draw in draws(0, range(5), 2, CPU):
        found, targets = mix(black_and_white, torch.eye(2), Recipe(**{name: 1.0}), draw)
        assert torch.allclose(found.mean(dim=(1, 2, 3)) / 255, targets[:, 1], atol=1e-5)
