"""The order of offers, and the price that each shows."""

import pytest

from cli.cluster.offers import offer_row, sort_rows
from infra.launch.catalogue import Row
from infra.model import Gpu


def make_row(name: str, count: int, memory: float, on_demand: float | None, spot: float | None) -> Row:
    return Row(name, "us-east-1", Gpu("X", count), memory, 8, 32, 0, "10 Gigabit", (), on_demand, spot, None)


ROWS = [
    make_row("one", 1, 24, 1.0, 0.8),
    make_row("eight", 8, 640, 4.0, None),
    make_row("spot-only", 1, 16, None, 0.1),
    make_row("old", 1, 16, 2.0, 0.2),
]
SPOT_FIRST = ("spot", "on-demand")


@pytest.mark.parametrize(
    ("sort", "markets", "names"),
    [
        ("price", ("on-demand",), ["one", "old", "eight", "spot-only"]),
        ("price", ("spot",), ["spot-only", "old", "one", "eight"]),
        ("price", SPOT_FIRST, ["spot-only", "old", "one", "eight"]),
        ("spot", ("on-demand",), ["spot-only", "old", "one", "eight"]),
        ("on-demand", ("spot",), ["one", "old", "eight", "spot-only"]),
        ("per-gpu", ("on-demand",), ["eight", "one", "old", "spot-only"]),
        ("memory", ("on-demand",), ["eight", "one", "spot-only", "old"]),
    ],
)
def test_offers_are_sorted_by_the_market_that_up_would_use(sort, markets, names):
    assert [row.instance_type for row in sort_rows(ROWS, sort, markets)] == names


def test_memory_and_price_are_shown_for_each_gpu_and_in_total():
    shown = offer_row(ROWS[1], ("on-demand",))
    assert (shown["GPU GiB each"], shown["GPU GiB total"], shown["$/h"]) == ("80", "640", "4.000")
    assert shown["per GPU"] == "0.500"
    assert offer_row(ROWS[2], ("on-demand",))["per GPU"] == ""
    assert offer_row(ROWS[3], SPOT_FIRST)["per GPU"] == "0.200"
