"""Weights from a file of any program: read without executing code, loaded by name."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..config.data import SINGLE
from ..errors import CheckpointError
from ..program import say
from ..tasks import SINGLE_LABEL, Task, find_task
from .lite0 import published_names

AVERAGES = ("ema", "state_dict_ema", "model_ema")
WRAPPERS = (*AVERAGES, "state_dict", "model_state_dict", "model", "net", "weights")
"""The keys under which training programs store weights, in order of preference."""
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.")
"""Prefixes that DataParallel, torch.compile, Lightning and others add to each name."""
COUNTER = "num_batches_tracked"
"""Of batch norm: unused with a fixed momentum, and missing from files older than torch 0.4.1."""
LEAST = 0.9
"""The fraction of the network's tensors that a file must have."""


@dataclass(frozen=True)
class Weights:
    """The tensors of one file."""

    path: Path
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] = ()
    """The classes of the last layer; empty if the file does not say."""
    task: Task = SINGLE_LABEL
    """What its outputs stand for."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """The pixels' normalization, for 0 to 255; empty if the file does not say."""


def read_weights(path: Path) -> Weights:
    """Read a .safetensors or .pth file without executing code. Raises CheckpointError."""
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot read weights: {str(error).splitlines()[0]}") from error
    except Exception as error:  # unpickling an invalid file may raise anything
        raise CheckpointError(
            f"{path}: refused: corrupt, or contains more than weights; save its state_dict() only"
        ) from error
    while isinstance(found, dict) and (key := next((k for k in WRAPPERS if isinstance(found.get(k), dict)), None)):
        if key in AVERAGES:
            say(f"{path}: using its averaged weights ('{key}')")
        found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path}: refused: not a dictionary of tensors")
    return Weights(path, found)


def read_safetensors(path: Path) -> Weights:
    """Read a .safetensors file, with classes and normalization if it is one of our models."""
    with safe_open(path, "pt") as kept:
        tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  it is not a dictionary
        head = (kept.metadata() or {}).get("gpujob")
    if head is None:
        return Weights(path, tensors)
    mean, std = (tuple(tensors.pop(name).flatten().tolist()) for name in ("mean", "std"))
    facts = loads(head)
    return Weights(path, tensors, tuple(facts["classes"]), read_task(facts), mean, std)


def read_task(facts: Mapping[str, Any]) -> Task:
    """Return the task of a model file, which older ones do not name. Raises KeyError for an unknown one."""
    return find_task(facts.get("task", SINGLE), facts.get("centre", 0.0), facts.get("scale", 1.0))


def load_weights(net: nn.Module, weights: Weights, wanted: tuple[tuple[str, ...], Task], partial: bool = False) -> None:
    """Load tensors by name; the last layer only if it has the classes and the task that are `wanted`.

    Raises CheckpointError for a tensor of another shape, and for a file that has less than 90 % of the network's tensors
    unless `partial`.
    """
    own = {name: value for name, value in net.state_dict().items() if not name.endswith(COUNTER)}
    found = rename(weights.tensors, own)
    head = head_name(net)
    body = {name: value for name, value in own.items() if not name.startswith(head)}
    matched = {name: found[name] for name in body if name in found}
    for name, value in matched.items():
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{weights.path}: '{name}' is {tuple(value.shape)} in the file, {tuple(own[name].shape)} in the network"
            )
    report = f"{weights.path}: {len(matched)} of the network's {len(body)} tensors"
    if len(matched) < LEAST * len(body) and not partial:
        strange = next((name for name in weights.tensors if name not in own), "")
        raise CheckpointError(
            f"{report} are in the file (it has '{strange}', the network '{next(iter(body), '')}'); is it another network? "
            "--partial-weights uses them anyway"
        )
    heads = {name: found[name] for name in own if name.startswith(head) and name in found}
    fits = all(
        heads.get(name) is not None and heads[name].shape == own[name].shape for name in own.keys() - body.keys()
    )
    keeps = fits and (not weights.classes or (weights.classes, weights.task) == wanted)
    say(f"{report} loaded, {'with' if keeps else 'and a new'} last layer")
    counters = {name: found[name] for name in net.state_dict() if name.endswith(COUNTER) and name in found}
    fill(net, {**matched, **counters, **(heads if keeps else {})}, strict=False)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], strict: bool = True) -> None:
    """Load tensors into a network by name; raises RuntimeError if they do not fit and `strict`.

    safetensors leaves out the versions of layers that torch's own files have, and MNASNet refuses to load without one.
    """
    named = OrderedDict(tensors)
    named._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(named, strict)


def rename(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the network's own names, as far as they are known."""
    found = dict(tensors)
    stripped = True
    while stripped:  # there may be prefixes of several programs
        stripped = False
        for prefix in PREFIXES:
            if any(name.startswith(prefix) for name in found) and not any(name.startswith(prefix) for name in own):
                found = {name.removeprefix(prefix): value for name, value in found.items()}
                stripped = True
    for names in published_names():
        if names.keys() & found.keys() and own.keys() <= set(names.values()):
            found = {names.get(name, name): value for name, value in found.items()}
    return found


def head_name(net: nn.Module) -> str:
    """Return the name of the last layer."""
    found = ""
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            found = name
    return found
