"""Read the values of a sent job's secrets from AWS's Parameter Store.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html
"""

from __future__ import annotations

import json
from typing import Any, Sequence

from .service import Service, ask

AT_ONCE = 10  # parameters in one request


class ParameterError(OSError):
    """The Parameter Store refused a request."""


def name_parameter(prefix: str, secret: str) -> str:
    """Return the name of the parameter with a secret of the job whose objects have this prefix."""
    return f"/gpujob/{prefix}{secret}"


def read_values(service: Service, prefix: str, secrets: Sequence[str], now_s: float) -> dict[str, str]:
    """Return the values of a job's secrets, without those that do not exist.

    Raises ParameterError if they may not be read, OSError or HTTPException without an answer.
    """
    names = {name_parameter(prefix, each): each for each in secrets}
    paths, found = [*names], {}
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameters"}
    for start in range(0, len(paths), AT_ONCE):
        body = json.dumps({"Names": paths[start : start + AT_ONCE], "WithDecryption": True}).encode()
        answer = ask(service, headers, body, now_s)
        content = read_json(answer.body)
        if answer.status != 200:
            said = content.get("message") or content.get("Message") or answer.status
            raise ParameterError(f"the Parameter Store refuses the secrets: {said}")
        found.update({names[each["Name"]]: each["Value"] for each in content["Parameters"]})
    return found


def read_json(body: bytes) -> dict[str, Any]:
    """Return an answer's JSON; an empty one if it is none."""
    try:
        return dict(json.loads(body))
    except ValueError:
        return {}
