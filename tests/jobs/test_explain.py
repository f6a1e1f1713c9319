"""Inside a network: what each depth responds to, and why one photograph gets its class, each held against other code."""

import re
from pathlib import Path

import pytest
import torch
from conftest import settings
from PIL import Image

from jobs import interpret
from jobs.data import Dataset
from jobs.explain.attribution import change, cover_until_changed, integrated_gradients
from jobs.explain.channels import Channel, cut, find_channels, watch
from jobs.explain.maximization import maximize
from jobs.explain.photo import Answer, explain, show_evidence
from jobs.look.inside import SPOTS, occlusion, patches
from jobs.look.layers import find_depths, trace
from jobs.look.report import Gallery
from jobs.models import Classifier
from jobs.models.classifier import count_parameters
from jobs.models.modelfile import load_model
from jobs.models.networks import bare
from jobs.train import run


@pytest.fixture(scope="module")
def model(trained: Path) -> Classifier:
    return load_model(trained)[0]


def answer_of(model: Classifier, data: Dataset, at: int) -> Answer:
    image = data.test.images[at]
    return Answer(image, model(image[None]).softmax(dim=1)[0].detach(), data.classes)


def test_layers_come_in_order_with_the_shapes_that_an_image_has_there(model):
    layers = trace(model, (1, 8, 8))
    assert [layer.shape for layer in layers][:4] == [(32, 8, 8), (32, 4, 4), (32, 4, 4), (32, 4, 4)]
    assert layers[-1].shape == (10,)
    assert sum(layer.parameters for layer in layers) == count_parameters(model)
    assert [layer.shape[0] for layer in find_depths(model, (1, 8, 8), 6)] == [32, 64, 128]


def test_a_position_sees_as_many_pixels_as_have_a_gradient():
    net = bare("small", (1, 64, 64), 2)
    image = torch.rand(1, 1, 64, 64) * 255
    for layer in find_depths(net, (1, 64, 64), 6)[:2]:
        given = image.clone().requires_grad_()
        maps = watch(net.eval(), given, [layer])[0]
        middle = maps.shape[2] // 2
        reached = torch.zeros(64, 64, dtype=torch.bool)
        for _ in range(8):  # the maximum of a pool sees one of its four; all channels and some images see all
            (gradient,) = torch.autograd.grad(maps[0, :, middle, middle].abs().sum(), given, retain_graph=True)
            reached |= gradient[0, 0] != 0
            given = (torch.rand(1, 1, 64, 64) * 255).requires_grad_()
            maps = watch(net, given, [layer])[0]
        seen = int(reached.any(dim=0).sum())
        assert 0.6 * layer.field <= seen <= layer.field


def test_the_patches_of_a_channel_are_where_it_responds_most(model, digits):
    images = digits.test.images[:60]
    layers = find_depths(model, digits.test.shape, 6)
    found = find_channels(model, images, layers, 4)
    for at, (layer, channels) in enumerate(zip(layers, found, strict=True)):
        assert 0 < len(channels) <= 4
        for channel in channels:
            maps = torch.stack([watch(model, image[None], layers)[at][0, channel.index] for image in images]).detach()
            strongest = maps.amax(dim=(1, 2))
            assert [place[0] for place in channel.places] == strongest.topk(3).indices.tolist()
            image, row, column = channel.places[0]
            assert maps[image, row, column] == strongest.max()
        assert cut(images[0], (0, 0, 0), layer).shape[1] <= 4, "at most half of the image"


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_maximized_images_excite_their_channels_more_than_test_images_do(model, digits, depth):
    layer = find_depths(model, digits.test.shape, 6)[depth]
    chosen = [Channel(index, (), 1.0) for index in range(3)]
    made = maximize(model, layer, chosen, digits.test.shape)
    with torch.no_grad():
        excited = watch(model, made, [layer])[0].mean(dim=(2, 3))
        usual = watch(model, digits.test.images, [layer])[0].mean(dim=(2, 3))
    assert made.dtype == torch.uint8
    assert excited.diagonal().sum() > usual[:, :3].mean(dim=0).sum()
    assert torch.equal(made, maximize(model, layer, chosen, digits.test.shape)), "the same each time"


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(model, digits):
    for at in range(3):
        image, label = digits.test.images[at], int(digits.test.labels[at])
        found = integrated_gradients(model, image, label, steps=128)
        with torch.no_grad():
            pair = model(torch.stack([image.float(), torch.full_like(image, 128).float()]))[:, label]
        assert float(found.sum()) == pytest.approx(float(pair[0] - pair[1]), rel=0.02, abs=0.02)


def test_integrated_gradients_are_those_of_a_plain_loop(model, digits):
    image, label, steps = digits.test.images[0].double(), int(digits.test.labels[0]), 16
    total = torch.zeros(1, 8, 8)
    for step in range(steps):
        point = (128 + (step + 0.5) / steps * (image - 128)).float().requires_grad_()
        model(point[None])[0, label].backward()
        total += point.grad
    plain = ((image - 128) * total / steps).sum(dim=0)
    assert (integrated_gradients(model, digits.test.images[0], label, steps) - plain).abs().max() < 1e-4


def test_occlusion_is_that_of_a_plain_loop(model, digits):
    image, label = digits.test.images[5], int(digits.test.labels[5])
    with torch.no_grad():
        whole = model(image[None]).softmax(dim=1)[0, label]
        for at, (rows, columns) in enumerate(patches(8, 8)):
            covered = image.clone()
            covered[:, rows, columns] = 128
            fall = whole - model(covered[None]).softmax(dim=1)[0, label]
            assert float(occlusion(model, image, label)[at // SPOTS, at % SPOTS]) == pytest.approx(
                float(fall), abs=1e-5
            )


def test_integrated_gradients_are_those_of_captum(model, digits):
    captum = pytest.importorskip("captum.attr")
    for at in range(3):
        image, label = digits.test.images[at], int(digits.test.labels[at])
        theirs = captum.IntegratedGradients(model).attribute(
            image[None].float(), 128.0, target=label, n_steps=32, method="riemann_middle"
        )
        found = integrated_gradients(model, image, label, steps=32)
        assert found.abs().max() > 0.1
        assert (found - theirs[0].sum(dim=0)).abs().max() < 1e-4


def test_occlusion_is_that_of_captum(model, digits):
    captum = pytest.importorskip("captum.attr")
    image, label = digits.test.images[5], int(digits.test.labels[5])
    ablation = captum.FeatureAblation(lambda images: model(images).softmax(dim=1))
    found = occlusion(model, image, label)
    assert found.abs().max() > 0.01
    for at, (rows, columns) in enumerate(patches(8, 8)):
        region = torch.zeros(1, 1, 8, 8, dtype=torch.int64)
        region[:, :, rows, columns] = 1
        fall = ablation.attribute(image[None].float(), 128.0, target=label, feature_mask=region)[region == 1][0]
        assert float(found[at // SPOTS, at % SPOTS]) == pytest.approx(float(fall), abs=1e-5)


def test_the_fewest_covered_patches_change_the_decision_and_fewer_do_not(model, digits):
    flips = 0
    for at in range(12):
        image, label = digits.test.images[at], int(model(digits.test.images[at : at + 1]).argmax())
        flip = cover_until_changed(model, image, label)
        if flip is None:
            continue
        flips += 1
        assert int(model(flip.image[None]).argmax()) == flip.label != label
        if flip.patches > 1:
            singles = image[None].repeat(SPOTS * SPOTS, 1, 1, 1)
            for one, (rows, columns) in zip(singles, patches(8, 8), strict=True):
                one[:, rows, columns] = 128
            assert (model(singles).argmax(dim=1) == label).all()
    assert flips > 3


def test_changes_that_an_image_cannot_have_are_not_listed():
    assert [name for name, _ in change(torch.zeros(1, 8, 12, dtype=torch.uint8))] == [
        *("mirrored", "upside down", "half as bright", "coarse", "inverted"),
    ]
    assert len(change(torch.zeros(3, 8, 8, dtype=torch.uint8))) == 7


def test_a_map_without_anything_says_so(digits):
    silent = bare("small", (1, 8, 8), 10).eval()
    with torch.no_grad():
        for parameter in silent.parameters():
            parameter.zero_()
    evidence = show_evidence(silent, answer_of(silent, digits, 0))
    notes = [line for row in evidence.rows[1:] for line in row.tiles[0].lines if "the map is empty" in line]
    assert len(notes) == 3


def test_the_nearest_training_image_of_a_training_image_is_itself(model, digits):
    few = digits.shorten(200)
    image = few.train.images[17]
    answer = Answer(image, model(image[None]).softmax(dim=1)[0].detach(), digits.classes)
    parts = {part.title: part for part in explain(model, answer, few)}
    nearest = parts["Nearest training images"]
    assert isinstance(nearest, Gallery)
    first = nearest.rows[0].tiles[0]
    assert first.lines == (f"{digits.classes[int(few.train.labels[17])]}, similarity 1.00", "training image 17")


@pytest.fixture(scope="module")
def shapes_run(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """The folder of a run on files, so that pages could name folders."""
    folder = tmp_path_factory.mktemp("secret-folder")
    for label in range(2):
        (folder / "photos" / f"is {label}").mkdir(parents=True)
        for at, index in enumerate((digits.train.labels == label).nonzero().flatten()[:20].tolist()):
            pixels = digits.train.images[index, 0].numpy() * 15
            Image.fromarray(pixels).save(folder / "photos" / f"is {label}" / f"{label}-{at}.png")
    run(settings(folder / "outputs", "small", folder / "photos", epochs=4))
    return folder


def test_one_photograph_is_explained_on_a_page_that_names_no_folder(shapes_run, capsys):
    photo = shapes_run / "photos" / "is 1" / "1-3.png"
    page = interpret.main([str(shapes_run / "outputs"), str(photo)])
    text = page.read_text()
    assert page == shapes_run / "outputs" / "report" / "1-3.html"
    assert re.findall("<h2>(.*?)</h2>", text)[:3] == ["Classes", "Where it looks", "Nearest training images"]
    assert "<h2>The same image, changed</h2>" in text
    assert text.count('class="scale"') == 3
    assert "secret-folder" not in text
    assert re.search(r"1-3\.png: is [01] [\d.]+%\n", capsys.readouterr().out)


def test_without_the_training_data_the_rest_is_explained(shapes_run, tmp_path, capsys):
    photo = shapes_run / "photos" / "is 1" / "1-4.png"
    page = interpret.main([str(shapes_run / "outputs"), str(photo), "--data", "digits", "--out", str(tmp_path)])
    assert "no nearest training images:" in capsys.readouterr().out
    assert "Nearest training images" not in page.read_text()
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    with pytest.raises(SystemExit, match=r"^jobs\.interpret: error: [^\n]*broken\.png[^\n]*$"):
        interpret.main([str(shapes_run / "outputs"), str(broken), "--out", str(tmp_path)])


def test_the_report_has_a_model_card_and_a_row_for_each_depth_and_names_no_folder(shapes_run):
    text = interpret.main([str(shapes_run / "outputs")]).read_text()
    card = text.split("<h2>Model card</h2>")[1].split("</section>")[0]
    rows = dict(re.findall(r"<th>(.*?)</th><td.*?>(.*?)</td>", card))
    assert list(rows) == ["Task", "Model", "Classes", "Data", "Accuracy", "Baseline", "Limits", "How to run"]
    assert re.fullmatch(r"[\d.]+%, 95% interval [\d.]+% to [\d.]+% \(\d+ of \d+\)", rows["Accuracy"])
    assert "2: is 0, is 1" in rows["Classes"]
    parts = text.split("<h2>Edges to parts</h2>")[1].split("</section>")[0]
    labels = re.findall(r"<h3>(.*?)</h3>", parts)
    assert [re.findall(r"\d+ x \d+ x \d+", label) for label in labels] == [
        ["32 x 4 x 4"],
        ["64 x 2 x 2"],
        ["128 x 1 x 1"],
    ]
    assert "secret-folder" not in text
    assert str(shapes_run.parent) not in text
