"""An animation of learning: a perceptron that arrives, one that never does, and a hidden layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIDE, GAP, CAPTION = 240, 16, 40
PAPER, INK_RGB = (255, 255, 255), (34, 34, 34)
MINUS, PLUS = (217, 130, 43), (42, 111, 187)
MILLISECONDS = 220


@dataclass(frozen=True)
class Panel:
    """One picture of the animation: points, and for each frame the score of any point and a caption."""

    points: Tensor
    signs: Tensor
    frames: Sequence[tuple[Callable[[Tensor], Tensor], str]]

    def draw(self, at: int) -> Image.Image:
        """Return a frame; after the last one it stands still."""
        ask, caption = self.frames[min(at, len(self.frames) - 1)]
        low, high = self.points.amin(dim=0), self.points.amax(dim=0)
        low, high = low - 0.2 * (high - low), high + 0.2 * (high - low)
        steps = (torch.arange(SIDE).double() + 0.5) / SIDE
        x, y = low[0] + steps * (high - low)[0], high[1] - steps * (high - low)[1]
        grid = torch.stack([x.expand(SIDE, SIDE), y[:, None].expand(SIDE, SIDE)], dim=-1).view(-1, 2)
        sides = ask(grid).view(SIDE, SIDE).sign().long() + 1
        tints = torch.tensor([tint(MINUS), PAPER, tint(PLUS)], dtype=torch.uint8)
        image = Image.new("RGB", (SIDE, SIDE + CAPTION), PAPER)
        image.paste(Image.fromarray(tints[sides].numpy()), (0, 0))
        pen = ImageDraw.Draw(image)
        for point, sign in zip((self.points - low) / (high - low) * SIDE, self.signs.tolist(), strict=True):
            across, up = float(point[0]), SIDE - float(point[1])
            pen.ellipse((across - 5, up - 5, across + 5, up + 5), fill=PLUS if sign > 0 else MINUS, outline=PAPER)
        pen.text((0, SIDE + 6), caption, fill=INK_RGB, font=ImageFont.load_default(size=13))
        return image


def tint(colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Return a light shade of a colour."""
    return tuple(255 - (255 - each) // 4 for each in colour)


def write_animation(path: Path, panels: Sequence[Panel], frames: int) -> None:
    """Write the panels side by side as a GIF that repeats."""
    images = []
    for at in range(frames):
        image = Image.new("RGB", (len(panels) * (SIDE + GAP) + GAP, SIDE + CAPTION + GAP), PAPER)
        for number, panel in enumerate(panels):
            image.paste(panel.draw(at), (GAP + number * (SIDE + GAP), GAP))
        images.append(image.quantize(32, dither=Image.Dither.NONE))
    times = [*[MILLISECONDS] * (frames - 1), 10 * MILLISECONDS]
    images[0].save(path, save_all=True, append_images=images[1:], duration=times, loop=0)
