"""How fast machines reach each other, as the plan says it: by the one network interface that they are launched with."""

import pytest

from cli.cluster.launch.preflight import describe_speed
from infra.ec2.market.catalogue import describe
from infra.ec2.market.offers import make_offers


def make_info(performance: str, *cards: dict) -> dict:
    network = {"NetworkPerformance": performance, "NetworkCards": list(cards), "DefaultNetworkCardIndex": 0}
    machine = {"InstanceType": "t", "VCpuInfo": {"DefaultVCpus": 1}, "MemoryInfo": {"SizeInMiB": 1024}}
    return {**machine, "NetworkInfo": network}


CARDS = [{"NetworkCardIndex": n, "BaselineBandwidthInGbps": 100.0, "PeakBandwidthInGbps": 100.0} for n in (1, 0)]
BURST = {"NetworkCardIndex": 0, "BaselineBandwidthInGbps": 2.5, "PeakBandwidthInGbps": 10.0}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (make_info("Up to 10 Gigabit", BURST), "up to 10 Gbit/s, 2.5 sustained"),
        (make_info("3200 Gigabit", *CARDS), "100 Gbit/s"),
        (make_info("Up to 25 Gigabit", {"NetworkCardIndex": 0}), "Up to 25 Gigabit"),  # AWS does not say more
        (make_info(""), "unknown network speed"),
    ],
)
def test_the_speed_is_that_of_one_interface_and_what_lasts_is_told_apart_from_what_does_not(info, said):
    [offer] = make_offers("us-east-1", describe(info, ["us-east-1a"]), {"t": 1.0}, {})
    assert describe_speed(offer) == said


def test_types_cached_by_an_earlier_version_have_no_known_speed_and_are_still_offered():
    info = describe(make_info("10 Gigabit", *CARDS), ["us-east-1a"])
    earlier = {key: value for key, value in info.items() if not key.endswith("_gbps")}
    [offer] = make_offers("us-east-1", earlier, {"t": 1.0}, {})
    assert describe_speed(offer) == "10 Gigabit"
