"""Which instance types a machine can become: by EC2's own descriptions, each difference that EC2 refuses."""

from typing import Any

import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPES

from infra.ec2.market.compatibility import find_obstacle

T4 = INSTANCE_TYPES["g4dn.xlarge"]
MACHINE = {"Architecture": "x86_64", "VirtualizationType": "hvm", "EnaSupport": True, "NetworkInterfaces": [{}]}


def find(machine: dict[str, Any], name: str, **changes: Any) -> str:
    return find_obstacle({**MACHINE, **machine}, T4, {**INSTANCE_TYPES[name], **changes})


@pytest.mark.parametrize("name", ["g5.xlarge", "g4dn.12xlarge", "g6e.xlarge", "t3.large", "p5.4xlarge"])
def test_a_machine_becomes_larger_smaller_and_of_another_family(name):
    assert find({}, name) == ""


@pytest.mark.parametrize(
    ("machine", "name", "changes", "said"),
    [
        ({}, "g5g.xlarge", {}, "its image is for x86_64, the type has arm64"),
        ({"VirtualizationType": "paravirtual"}, "g5.xlarge", {}, "its image is paravirtual, not hvm"),
        ({"EnaSupport": False}, "g5.xlarge", {}, "enhanced networking (ENA)"),
        ({}, "p4d.24xlarge", {}, "it has 4 network cards and the machine's present type 1"),
        ({"NetworkInterfaces": [{}] * 5}, "g5.xlarge", {}, "more network interfaces"),
        ({"BootMode": "uefi"}, "g5.xlarge", {"SupportedBootModes": ["legacy-bios"]}, "its image boots by uefi"),
        ({"EbsOptimized": True}, "g5.xlarge", {"EbsInfo": {"EbsOptimizedSupport": "unsupported"}}, "EBS-optimized"),
    ],
)
def test_what_ec2_refuses_has_its_reason(machine, name, changes, said):
    assert said in find(machine, name, **changes)


def test_an_image_that_prefers_uefi_boots_without_it():
    assert find({"BootMode": "uefi-preferred"}, "g5.xlarge", SupportedBootModes=["legacy-bios"]) == ""
