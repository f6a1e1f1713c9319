"""A cache of responses from AWS that rarely change."""

import json
import time
from collections.abc import Callable
from typing import Any

from infra import state
from infra.ec2.account import Account


def cached(account: Account, name: str, seconds: float, fetch: Callable[[], Any], *, refresh: bool = False) -> Any:
    """Return the result of `fetch`, cached for `seconds` by account and region.

    By account, because zone names differ between accounts: https://docs.aws.amazon.com/ram/latest/userguide/working-with-az-ids.html
    """
    path = state.cache_file(f"{account.cloud}-{account.identity.account_id}-{account.region}-{name}.json")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if not refresh and 0 <= time.time() - kept["at"] < seconds:
            return kept["value"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    value = fetch()
    state.write_private(path, json.dumps({"at": time.time(), "value": value}))
    return value
