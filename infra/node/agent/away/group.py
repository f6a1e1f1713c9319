"""Leave the Auto Scaling group: this machine ends and is not replaced."""

from __future__ import annotations

import hashlib
import http.client
import ssl
from typing import Mapping
from urllib.parse import urlencode, urlsplit

from ..aws.credentials import read_credentials
from ..aws.documents import parse
from ..aws.signing import Request, sign
from .settings import Place

LIMIT_S = 30.0
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
    domain = "amazonaws.com.cn" if place.region.startswith("cn-") else "amazonaws.com"
    parts = urlsplit(place.endpoint or f"https://autoscaling.{place.region}.{domain}")
    body = urlencode({"Action": action, "Version": VERSION, **parameters}).encode()
    kind = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = Request("POST", parts.netloc, "/", {}, kind, hashlib.sha256(body).hexdigest())
    headers = sign(request, read_credentials(), place.region, "autoscaling", place.bucket.wire.now_s())
    headers["content-length"] = str(len(body))
    secure = parts.scheme == "https"
    link: http.client.HTTPConnection = (
        http.client.HTTPSConnection(parts.netloc, timeout=LIMIT_S, context=ssl.create_default_context())
        if secure
        else http.client.HTTPConnection(parts.netloc, timeout=LIMIT_S)
    )
    try:
        link.request("POST", "/", body, headers)
        answer = link.getresponse()
        content = answer.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise GroupError(str(error)) from error
    finally:
        link.close()
    if answer.status >= 300:
        said = next((each.text for each in parse(content).iter() if each.tag.endswith("Message")), "")
        raise GroupError(f"{action}: {said or answer.status}")
