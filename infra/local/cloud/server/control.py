"""Requests to the local cloud beyond AWS's: its faults and its record of calls."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from infra.errors import CloudError, UsageError
from infra.local.record import LocalCloud

FAULTS = "/gpujob/faults"
TRAIL = "/gpujob/trail"
CALLER = "/gpujob/caller"
KEY = "X-Gpujob-Key"
TIMEOUT_S = 60.0


def list_faults(cloud: LocalCloud) -> list[str]:
    """List the active faults."""
    return list(_ask(cloud, "GET", FAULTS))


def add_faults(cloud: LocalCloud, *faults: str) -> list[str]:
    """Inject faults and list the active ones; raises UsageError for an invalid one."""
    return list(_ask(cloud, "POST", FAULTS, list(faults)))


def clear_faults(cloud: LocalCloud) -> None:
    """Clear all faults."""
    _ask(cloud, "DELETE", FAULTS)


def read_trail(cloud: LocalCloud) -> list[dict[str, Any]]:
    """List the recorded calls with the permissions that each needed."""
    return list(_ask(cloud, "GET", TRAIL))


def clear_trail(cloud: LocalCloud) -> None:
    """Clear the recorded calls."""
    _ask(cloud, "DELETE", TRAIL)


def set_caller(cloud: LocalCloud, arn: str = "", user_id: str = "", policy: dict[str, Any] | None = None) -> None:
    """Set the caller of all following calls, and its policy; without an ARN, moto's user."""
    _ask(cloud, "POST", CALLER, {"arn": arn, "user_id": user_id, "policy": policy} if arn else {})


def _ask(cloud: LocalCloud, method: str, path: str, content: object = None) -> Any:
    # http.client, because urllib and requests would use a proxy from the environment.
    address = urlsplit(cloud.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
    try:
        # A body that the server does not read would make it reset the connection, and lose the end of its answer.
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, {KEY: cloud.access_key})
        answer = connection.getresponse()
        result = json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CloudError(f"the local cloud does not respond: {error}", "gpujob local stop") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise UsageError(str(result), "gpujob local faults")
    return result
