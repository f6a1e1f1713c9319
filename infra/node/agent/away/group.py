"""Leave the Auto Scaling group: this machine ends and is not replaced."""

from __future__ import annotations

import http.client
from typing import Mapping
from urllib.parse import urlencode

from ..aws import service
from ..aws.documents import parse
from .settings import Place

VERSION = "2011-01-01"


class GroupError(Exception):
    """The group's service refused a request, or did not answer."""


def leave(place: Place) -> None:
    """Terminate this machine, with one machine fewer in its group; raises GroupError."""
    ask(
        place,
        "TerminateInstanceInAutoScalingGroup",
        {"InstanceId": place.machine, "ShouldDecrementDesiredCapacity": "true"},
    )


def empty(place: Place) -> None:
    """Let the group have no machines from now on: nothing is left to do. Raises GroupError."""
    sizes = {"MinSize": "0", "MaxSize": "0", "DesiredCapacity": "0"}
    ask(place, "UpdateAutoScalingGroup", {"AutoScalingGroupName": place.group, **sizes})


def ask(place: Place, action: str, parameters: Mapping[str, str]) -> None:
    """Send a request to AWS's Auto Scaling; raises GroupError."""
    body = urlencode({"Action": action, "Version": VERSION, **parameters}).encode()
    kind = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    try:
        answer = service.ask(place.service("autoscaling"), kind, body, place.bucket.wire.now_s())
    except (OSError, http.client.HTTPException) as error:
        raise GroupError(str(error)) from error
    if answer.status >= 300:
        said = next((each.text for each in parse(answer.body).iter() if each.tag.endswith("Message")), "")
        raise GroupError(f"{action}: {said or answer.status}")
