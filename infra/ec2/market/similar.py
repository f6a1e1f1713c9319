"""Alternatives to an unavailable GPU, by memory and price."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from infra.base.money import format_rate
from infra.model import Gpu, Market, Offer

# Memory of one GPU in GB, as marketed. AWS does not offer some of these, but users ask for them.
NAMES_BY_GB = {
    8: "M60 P4",
    10: "RTX3080",
    11: "RTX2080TI",
    12: "K80",
    16: "P100 V100 T4 T4G A2 A16 A4000 RTX4080 RTX5080",
    24: "P40 A10 A10G A30 L4 A5000 RTX3090 RTX4090 TITANRTX",
    32: "RTX5090",
    40: "A100",
    48: "A40 L40 L40S A6000",
    80: "A800 H100 H800",
    96: "H20 GH200",
    141: "H200",
    192: "B200",
    288: "B300",
}
SOLD_GB = {name: memory_gb for memory_gb, names in NAMES_BY_GB.items() for name in names.split()}
WITH_MEMORY = re.compile(r"(.+?)[-_ ]?([0-9]{1,3})GB?")
ALIKE = 0.7
SHOWN = 3


@dataclass(frozen=True)
class Similar:
    """An available GPU, and the cheapest machine with it."""

    gpu: Gpu
    memory_gb: int
    """Of one GPU."""
    price_usd: float
    """Per hour of the machine."""

    def __str__(self) -> str:
        return f"{self.gpu} {self.memory_gb} GB {format_rate(self.price_usd)}"


def memory_gb(offer: Offer) -> int:
    """Return the memory of one of an offer's GPUs in GB, as marketed."""
    return round(offer.gpu_memory_gib * 2**30 / 1e9 / offer.gpu.count) if offer.gpu else 0


def list_similar(offers: Sequence[Offer], gpu: Gpu, markets: Sequence[Market]) -> list[Similar]:
    """Return alternatives to a GPU, closest first: as many with at least its memory, or a similar name.

    For an unknown name that resembles none, the cheapest come first.
    """
    found = summarize(offers, markets)
    count, asked_gb = max(gpu.count, 1), ask_memory(offers, gpu.name)
    if asked_gb:
        enough = [one for one in found if one.gpu.count >= count and one.memory_gb >= asked_gb]
        return sorted(enough, key=lambda one: (one.gpu.count, one.memory_gb, not is_same(one, gpu), one.price_usd))[
            :SHOWN
        ]
    names = {one.gpu.name.upper(): one.gpu.name for one in found}
    near = [names[name] for name in difflib.get_close_matches(plain(gpu.name), names, 1, ALIKE)]
    fitting = [one for one in found if one.gpu.name in near and one.gpu.count >= count] or found
    return sorted(fitting, key=lambda one: (one.gpu.count != count, one.price_usd))[:SHOWN]


def summarize(offers: Sequence[Offer], markets: Sequence[Market]) -> list[Similar]:
    """Return each model and number of GPUs with its cheapest machine in these markets."""
    cheapest: dict[Gpu, Similar] = {}
    for offer in sorted(offers, key=lambda one: one.price_usd, reverse=True):
        if offer.gpu and offer.market in markets:
            sold = SOLD_GB.get(plain(offer.gpu.name), 0)
            size = sold if 0.85 < sold / max(memory_gb(offer), 1) <= 1.1 else memory_gb(offer)
            cheapest[offer.gpu] = Similar(offer.gpu, size, offer.price_usd)
    return list(cheapest.values())


def ask_memory(offers: Sequence[Offer], name: str) -> int:
    """Return the memory in GB of a GPU by its name, such as V100 or A100-80GB; 0 if unknown."""
    named = WITH_MEMORY.fullmatch(plain(name))
    if named and (named[1].strip("-_ ") in SOLD_GB or any(o.gpu and plain(o.gpu.name) == named[1] for o in offers)):
        return int(named[2])
    offered = [memory_gb(o) for o in offers if o.gpu and plain(o.gpu.name) == plain(name)]
    return SOLD_GB.get(plain(name), 0) or min(offered, default=0)


def is_same(one: Similar, gpu: Gpu) -> bool:
    """Return whether it is the requested GPU, in any number."""
    return plain(one.gpu.name) == plain(gpu.name)


def plain(name: str) -> str:
    """Return a GPU's name without brand names and spaces."""
    return re.sub(r"NVIDIA|GEFORCE|TESLA|\s", "", name.upper()).strip("-_")
