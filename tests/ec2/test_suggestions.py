"""What is suggested instead of what cannot be had: by memory and price, and as what was typed with one word changed."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.options.retype import retype
from infra.ec2.market.offers import choose, match
from infra.ec2.market.similar import SOLD_GB, list_similar
from infra.errors import Change, NotFoundError, UsageError
from infra.launch.plans import check_zones
from infra.model import Gpu, LaunchRequest, Market, Offer


def offer(name: str, gpu: str, gib: float, price: float, count: int = 1, market: Market = "on-demand") -> Offer:
    return Offer(name, "us-east-1", market, {"us-east-1a": price}, Gpu(gpu, count), gib * count, 4, 16, 0, "")


OFFERS = [
    offer("g4dn.xlarge", "T4", 16, 0.526),
    offer("g4dn.12xlarge", "T4", 16, 3.912, 4),
    offer("g6.xlarge", "L4", 22.35, 0.8048),
    offer("g5.xlarge", "A10G", 22.35, 1.006),
    offer("g5.12xlarge", "A10G", 22.35, 5.672, 4),
    offer("g6.12xlarge", "L4", 22.35, 4.6016, 4),
    offer("g6e.xlarge", "L40S", 44.7, 1.861),
    offer("p5.4xlarge", "H100", 80, 6.88),
    offer("p4d.24xlarge", "A100", 40, 21.957642, 8),
]


@pytest.mark.parametrize(
    ("asked", "suggested"),
    [
        (Gpu("V100"), ["T4 16 GB $0.53/h", "L4 24 GB $0.80/h", "A10G 24 GB $1.01/h"]),
        (Gpu("v100-32gb"), ["L40S 48 GB $1.86/h", "H100 80 GB $6.88/h", "A100:8 40 GB $21.96/h"]),
        (Gpu("A100"), ["L40S 48 GB $1.86/h", "H100 80 GB $6.88/h", "A100:8 40 GB $21.96/h"]),
        (Gpu("A100-80GB"), ["H100 80 GB $6.88/h"]),
        (Gpu("RTX 4090"), ["L4 24 GB $0.80/h", "A10G 24 GB $1.01/h", "L40S 48 GB $1.86/h"]),
        (Gpu("A10"), ["L4 24 GB $0.80/h", "A10G 24 GB $1.01/h", "L40S 48 GB $1.86/h"]),
        (Gpu("A10G", 3), ["A10G:4 24 GB $5.67/h", "L4:4 24 GB $4.60/h", "A100:8 40 GB $21.96/h"]),
        (Gpu("H100", 2), []),
        (Gpu("B300"), []),
        (Gpu("A11G"), ["A10G 24 GB $1.01/h", "A10G:4 24 GB $5.67/h"]),
        (Gpu("banana"), ["T4 16 GB $0.53/h", "L4 24 GB $0.80/h", "A10G 24 GB $1.01/h"]),
    ],
)
def test_similar_is_what_has_the_memory_at_the_lowest_price_however_it_is_spelled(asked, suggested):
    assert [str(one) for one in list_similar(OFFERS, asked, ["on-demand"])] == suggested


@given(st.sampled_from(sorted(SOLD_GB)), st.integers(0, 9))
def test_nothing_with_less_memory_or_fewer_gpus_is_called_similar(name, count):
    found = list_similar(OFFERS, Gpu(name, count), ["on-demand"])
    assert all(one.memory_gb >= SOLD_GB[name] and one.gpu.count >= count for one in found)
    assert [one.gpu.count for one in found] == sorted(one.gpu.count for one in found)


@given(st.text(max_size=12), st.integers(0, 9))
def test_whatever_is_typed_as_a_gpu_has_an_answer(name, count):
    assert len(list_similar(OFFERS, Gpu(name, count), ["on-demand"])) <= 3


def test_the_error_names_prices_and_the_one_word_to_change():
    with pytest.raises(NotFoundError) as caught:
        match(OFFERS, LaunchRequest(gpu=Gpu("V100")), "us-east-1")
    assert caught.value.what == (
        "no V100 in us-east-1. Similar: T4 16 GB $0.53/h, L4 24 GB $0.80/h, A10G 24 GB $1.01/h"
    )
    assert caught.value.change == Change("--gpu", "T4")
    with pytest.raises(NotFoundError, match=r"machines have 8\. Similar: L40S 48 GB") as caught:
        match(OFFERS, LaunchRequest(gpu=Gpu("A100")), "us-east-1")
    assert caught.value.change == Change("--gpu", "L40S")


def test_the_prices_are_those_of_the_market_that_was_asked_for():
    spot = [replace(one, market="spot", prices={"us-east-1a": one.price_usd / 2}) for one in OFFERS]
    with pytest.raises(NotFoundError, match=r"T4 16 GB \$0.26/h"):
        match(OFFERS + spot, LaunchRequest(gpu=Gpu("V100"), markets=("spot",)), "us-east-1")


def test_another_market_or_zone_is_suggested_with_its_price():
    with pytest.raises(
        NotFoundError, match=r"no spot instance type matches .*; on-demand: g4dn.xlarge \$0.53/h"
    ) as caught:
        choose(OFFERS, LaunchRequest(gpu=Gpu("T4"), markets=("spot",)), "us-east-1")
    assert caught.value.change.word == "--on-demand"
    with pytest.raises(NotFoundError, match=r"available in us-east-1a \(g4dn.xlarge \$0.53/h\)") as caught:
        choose(OFFERS, LaunchRequest(gpu=Gpu("T4"), zones=("us-east-1z",)), "us-east-1")
    assert caught.value.change == Change("--zone", "us-east-1a")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (LaunchRequest(gpu=Gpu("T4"), instance_types=("g5.xlarge",)), "g5.xlarge has 1 x A10G, but --gpu is T4"),
        (LaunchRequest(gpu=Gpu("A10G", 4), instance_types=("g5.xlarge",)), "--gpu is A10G:4"),
        (LaunchRequest(gpu_memory_gb=48, instance_types=("g5.xlarge",)), "with 24 GB, but --gpu-memory is 48 GB"),
    ],
)
def test_an_instance_type_that_contradicts_what_else_was_asked_for_is_refused(asked, said):
    with pytest.raises(UsageError, match=said):
        choose([OFFERS[3]], asked, "us-east-1")


def test_an_instance_type_that_agrees_is_taken():
    assert choose([OFFERS[3]], LaunchRequest(gpu=Gpu("a10g"), gpu_memory_gb=24, instance_types=("g5.xlarge",)), "r")


def test_zones_and_regions_that_contradict_each_other_are_refused():
    check_zones(["us-east-1", "us-west-2"], ["us-east-1a", "us-west-2b"])
    check_zones(["us-west-2"], ["us-west-2-lax-1a"])
    check_zones(["us-west-2"], [])
    with pytest.raises(UsageError, match="zone us-east-1a is not in us-west-2"):
        check_zones(["us-west-2"], ["us-east-1a"])
    with pytest.raises(UsageError, match="region eu-west-1 has none of the zones us-west-2a"):
        check_zones(["us-west-2", "eu-west-1"], ["us-west-2a"])


MARKETS = ("--spot", "--on-demand", "--spot-first")


@pytest.mark.parametrize(
    ("typed", "change", "expected"),
    [
        ("up --dry-run --gpu V100 --plan", Change("--gpu", "T4"), "gpujob up --dry-run --gpu T4 --plan"),
        ("up demo --gpu=V100 --max-cost 5", Change("--gpu", "T4"), "gpujob up demo --gpu T4 --max-cost 5"),
        ("up --dry-run", Change("--gpu", "T4"), "gpujob up --dry-run --gpu T4"),
        ("offers --gpu V100 --dry-run", Change("--gpu", "T4"), "gpujob offers --gpu T4 --dry-run"),
        ("up --zone a --dry-run --zone b", Change("--zone", "c"), "gpujob up --zone c --dry-run"),
        ("up --spot --gpu T4", Change("--on-demand", instead=MARKETS), "gpujob up --on-demand --gpu T4"),
        ("up 'My Name' --dry-run", Change("My Name", "my-name"), "gpujob up my-name --dry-run"),
        ("up --dry-run", Change("My Name", "my-name"), "gpujob up my-name --dry-run"),
        ("up --image 'a b' --gpu V100", Change("--gpu", "T4"), "gpujob up --image 'a b' --gpu T4"),
    ],
)
def test_a_suggestion_is_what_was_typed_with_one_word_changed(typed, change, expected):
    assert retype(shlex.split(typed), change) == expected
