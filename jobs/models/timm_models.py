"""Networks of timm: `--model timm/resnet18`, each with its own image size and normalization."""

import difflib
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from torch import nn

from ..errors import TrainingError

PREFIX = "timm/"


def is_timm(name: str) -> bool:
    """Return whether a model is one of timm's."""
    return name.startswith(PREFIX)


def check_timm(name: str) -> None:
    """Raise TrainingError if timm is not installed or has no such network."""
    if not find_spec("timm"):
        raise TrainingError(f"--model {name} needs a package: pip install timm")
    import timm  # takes seconds, and only its own networks need it

    own = name.removeprefix(PREFIX)
    if not timm.is_model(own):
        near = difflib.get_close_matches(own, timm.list_models(), 3)
        hint = f"did you mean {' or '.join(PREFIX + each for each in near)}?" if near else "see timm.list_models()"
        raise TrainingError(f"timm has no model '{own}'; {hint}")


def build_timm(name: str, classes: int, size: int, fetch: bool = False) -> nn.Module:
    """Build one of timm's networks for colour images of `size` pixels, with published weights if `fetch`.

    Raises TrainingError.
    """
    check_timm(name)
    import timm

    own = name.removeprefix(PREFIX)
    sized: dict[str, Any] = {"img_size": size} if takes_one_size(name) else {}
    try:
        net: nn.Module = timm.create_model(own, pretrained=fetch, num_classes=classes, **sized)
    except (OSError, RuntimeError) as error:
        if not fetch:
            raise
        raise TrainingError(
            f"could not download the weights of {name} ({str(error).splitlines()[0]}): download them and use --weights FILE"
        ) from error
    return net


def takes_one_size(name: str) -> bool:
    """Return whether a network is built for one image size, such as a vision transformer."""
    return bool(find_config(name).get("fixed_input_size"))


def find_config(name: str) -> dict[str, Any]:
    """Return what timm says about a network's images: input_size, mean and std (0 to 1), interpolation."""
    check_timm(name)
    import timm

    found = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    return asdict(found) if found else {}


def timm_size(name: str) -> int:
    """Return the image size that a network was trained with; 0 if timm does not say."""
    return int(find_config(name).get("input_size", (3, 0, 0))[1])


def timm_normalization(name: str) -> tuple[list[float], list[float]] | None:
    """Return mean and standard deviation per channel for pixels of 0 to 255, if timm says."""
    found = find_config(name)
    if "mean" not in found:
        return None
    mean, std = ([255 * value for value in found[each]] for each in ("mean", "std"))
    return mean, std


def timm_interpolation(name: str) -> str:
    """Return how a network's images are scaled: bilinear or bicubic, which is also used for others."""
    return "bilinear" if find_config(name).get("interpolation", "bilinear") == "bilinear" else "bicubic"
