"""The public parameters that name AWS's Deep Learning and Ubuntu images, mapped to moto's images."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from infra.local.cloud import moto_state
from infra.local.cloud.answers import Answer, error, json_answer
from infra.local.cloud.faults import Faults
from infra.local.cloud.request import Request

DLAMI_NAME = "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.12 (Ubuntu 24.04)"
AMAZON_NAME = "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.12 (Amazon Linux 2023) 20261003"
UBUNTU_NAME = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260115"
NEWER = " newer"
"""Ends the name of an image that was released later."""
_PREFIX = ("/aws/service/deeplearning/ami/", "/aws/service/canonical/ubuntu/")
_KNOWN = re.compile(
    r"/aws/service/deeplearning/ami/x86_64/"
    r"(oss-nvidia-driver-gpu-pytorch-2\.([7-9]|1[0-2])|base-oss-nvidia-driver-gpu)-(ubuntu-24\.04|amazon-linux-2023)/latest/ami-id"
    r"|/aws/service/canonical/ubuntu/server/24\.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
)


def get_parameter(request: Request, faults: Faults) -> Answer | None:
    """Answer GetParameter for the images' names; None for any other name."""
    name = str(request.body.get("Name", ""))
    if not name.startswith(_PREFIX):
        return None
    if not _KNOWN.fullmatch(name):
        return error(request.service, "ParameterNotFound", f"Parameter {name} not found.")
    return json_answer({"Parameter": _parameter(name, request.region, faults)})


def get_parameters(request: Request, moto: Callable[[Request], Answer], faults: Faults) -> Answer | None:
    """Answer GetParameters for the images' names, leaving other names to moto."""
    names = [str(name) for name in request.body.get("Names", [])]
    ours = [name for name in names if name.startswith(_PREFIX)]
    if not ours:
        return None
    found = [_parameter(name, request.region, faults) for name in ours if _KNOWN.fullmatch(name)]
    missing = [name for name in ours if not _KNOWN.fullmatch(name)]
    others = [name for name in names if name not in ours]
    if others:
        answer = moto(replace(request, body={**request.body, "Names": others}))
        if answer.status != 200:
            return answer
        rest = json.loads(answer.body)
        found, missing = found + rest.get("Parameters", []), missing + rest.get("InvalidParameters", [])
    return json_answer({"Parameters": found, "InvalidParameters": missing})


def name_of(parameter: str) -> str:
    """Return the name of the image that a parameter leads to."""
    if "/canonical/" in parameter:
        return UBUNTU_NAME
    return AMAZON_NAME if "amazon-linux" in parameter else DLAMI_NAME


def login_user(region: str, image_id: str) -> str:
    """Return the only user of an image, whose home has the key."""
    image = moto_state.find_image(region, image_id)
    return "ec2-user" if image is not None and "Amazon Linux" in (image.name or "") else "ubuntu"


def _parameter(name: str, region: str, faults: Faults) -> dict[str, Any]:
    newest = name_of(name) + NEWER * (faults.value("released") is not None)
    return {
        "Name": name,
        "Type": "String",
        "Value": moto_state.image_id(region, newest),
        "Version": 1,
        "LastModifiedDate": 1735689600.0,
        "ARN": f"arn:aws:ssm:{region}::parameter{name}",
        "DataType": "aws:ec2:image",
    }
