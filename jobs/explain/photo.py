"""One photograph, explained: its classes, the pixels that decide, and what changes the decision."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..data import Dataset, Split
from ..images.decoding import Files
from ..look.inside import SPOTS, grad_cam, occlusion, picture
from ..look.mistakes import brief, read
from ..look.plots import colour, overlay
from ..look.report import Gallery, Part, Row, Scale, Table, Tile
from ..models import Classifier
from ..models.classifier import find_maps
from ..models.modelfile import Facts
from ..training.distributed import DistributedContext
from ..training.head import extract_features
from .attribution import STEPS, change, cover_until_changed, integrated_gradients

MOST_CLASSES, NEIGHBOURS = 5, 6
MOST_SEARCHED = 2_000
"""Training images among which the nearest are looked for."""
FAINT = 1e-3
"""A fall of a probability below this is nothing that a map should show."""


@dataclass(frozen=True)
class Answer:
    """What a model makes of one image."""

    image: Tensor
    """As the network receives it, uint8 (C, H, W)."""
    chances: Tensor
    classes: tuple[str, ...]

    @property
    def label(self) -> int:
        """Return the predicted class."""
        return int(self.chances.argmax())

    @property
    def said(self) -> str:
        """Return the predicted class and its chance in words."""
        return f"{brief(self.classes[self.label])} {float(self.chances[self.label]):.1%}"


@torch.no_grad()
def ask(model: Classifier, facts: Facts, path: Path) -> Answer:
    """Read one file and predict its class. Raises BrokenImageError."""
    image = Files((path,), facts.shape[1], facts.shape[0], levels=facts.levels, square=facts.square).read(0)
    return Answer(image, model.eval()(image[None]).float().softmax(dim=1)[0], facts.classes)


def explain(model: Classifier, answer: Answer, data: Dataset | None) -> list[Part]:
    """Return the sections of the page about one photograph; without `data` there are no neighbours."""
    best = answer.chances.topk(min(MOST_CLASSES, len(answer.classes))).indices.tolist()
    rows = [(answer.classes[at], f"{float(answer.chances[at]):.1%}") for at in best]
    parts: list[Part] = [Table("Classes", rows, ("class", "chance"))]
    parts.append(show_evidence(model, answer))
    if data is not None:
        parts.append(show_neighbours(model, answer, data))
    return [*parts, *show_changes(model, answer)]


def show_evidence(model: Classifier, answer: Answer) -> Gallery:
    """Return the image, and over it Grad-CAM, integrated gradients and occlusion, each with its scale."""
    base, rows = picture(answer.image), []
    rows.append(Row("Image, as the network receives it", (Tile(base, (answer.said,)),)))
    if find_maps(model):
        heat = grad_cam(model, answer.image[None], torch.tensor([answer.label]))[0].cpu()
        note = "" if float(heat.max()) > 0 else "the map is empty: no region of the last layer supports this class"
        tile = Tile(overlay(base, colour(heat.numpy(), "inferno")), tuple(filter(None, (answer.said, note))))
        rows.append(Row("Grad-CAM: regions that support the class", (tile,), Scale("inferno", "none", "most")))
    rows.append(show_gradients(model, answer))
    rows.append(show_occlusion(model, answer))
    caption = (
        f"Three answers to the question which pixels speak for {brief(answer.classes[answer.label])}. They are computed in "
        "different ways; what all of them show is the most certain."
    )
    return Gallery("Where it looks", caption, rows)


def show_gradients(model: Classifier, answer: Answer) -> Row:
    """Return integrated gradients as a picture: red speaks for the class, blue against it."""
    found = integrated_gradients(model, answer.image, answer.label)
    side = max(1, found.shape[1] // 32) | 1
    total, found = float(found.sum()), avg_pool2d(found[None], side, stride=1, padding=side // 2)[0]
    top = float(found.abs().flatten().quantile(0.99))  # a few pixels stand out so far that all others would be pale
    note = "" if top > 0 else "the map is empty: no pixel changes the logit"
    tile = Tile(colour(found.numpy(), "coolwarm", -top, top), tuple(filter(None, (answer.said, note))))
    label = (
        f"Integrated gradients, {STEPS} steps from grey: what each pixel adds to the logit, {total:+.1f} in all; "
        f"drawn as means of {side} x {side} pixels"
    )
    return Row(label, (tile,), Scale("coolwarm", f"{-top:.3g}", f"{top:+.3g}"))


def show_occlusion(model: Classifier, answer: Answer) -> Row:
    """Return how the probability falls when a patch is covered, up to the largest change."""
    fall = occlusion(model, answer.image, answer.label)
    top = float(fall.abs().max())
    note = "" if top >= FAINT else f"the map is empty: no patch changes the probability by {FAINT:.1%}"
    shown = colour(fall.numpy(), "coolwarm", -max(top, FAINT), max(top, FAINT))
    tile = Tile(overlay(picture(answer.image), shown), tuple(filter(None, (answer.said, note))))
    label = f"Occlusion: how much the probability falls when one of {SPOTS} x {SPOTS} patches is covered"
    return Row(label, (tile,), Scale("coolwarm", f"rises by {top:.1%}", f"falls by {top:.1%}"))


def show_neighbours(model: Classifier, answer: Answer, data: Dataset) -> Gallery:
    """Return the training images whose features have the smallest angle to those of the image."""
    drawn = torch.linspace(0, len(data.train) - 1, min(len(data.train), MOST_SEARCHED)).round().long()
    train = data.train.take(drawn)
    context = DistributedContext(model.mean.device)
    features, labels = extract_features(model, train, context, mirror=False)
    own, _ = extract_features(
        model, Split(answer.image[None], torch.zeros(1, dtype=torch.int64)), context, mirror=False
    )
    alike = torch.nn.functional.cosine_similarity(features, own)
    tiles = tuple(
        Tile(
            picture(read(train, at)),
            (
                f"{brief(data.classes[int(labels[at])])}, similarity {float(alike[at]):.2f}",
                Path(train.names[at]).name if train.names else f"training image {int(drawn[at])}",
            ),
        )
        for at in alike.topk(min(NEIGHBOURS, len(train))).indices.tolist()
    )
    caption = (
        f"Of {len(train):,} training images, the most similar to the last layer, which sees features only; 1 is equal."
    )
    return Gallery("Nearest training images", caption, (Row("", tiles),))


@torch.no_grad()
def show_changes(model: Classifier, answer: Answer) -> list[Part]:
    """Return what changes the decision: covered patches, and other versions of the image."""
    parts: list[Part] = []
    flip = cover_until_changed(model, answer.image, answer.label)
    if flip:
        said = f"{brief(answer.classes[flip.label])} {flip.chance:.1%}"
        caption = f"Covering {flip.patches} of {SPOTS * SPOTS} patches with grey, the best one each time, is enough."
        parts.append(Gallery("What changes the decision", caption, (Row("", (Tile(picture(flip.image), (said,)),)),)))
    changed = change(answer.image)
    chances = model(torch.stack([image for _, image in changed])).float().softmax(dim=1)
    rows = []
    for (name, _), each in zip(changed, chances, strict=True):
        now = int(each.argmax())
        mark = "" if now == answer.label else "changed"
        rows.append((name, answer.classes[now], f"{float(each[now]):.1%}", f"{float(each[answer.label]):.1%}", mark))
    caption = "" if flip else "Covering patches with grey, up to twelve, does not change it."
    heads = ("the image", "predicted", "chance", f"of {answer.classes[answer.label]}", "")
    return [*parts, Table("The same image, changed", rows, heads, caption)]
