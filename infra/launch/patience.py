"""Wait for a free machine: retry at growing intervals until one is found or the time is over."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from infra.errors import CapacityError, CloudError, PlaceError
from infra.launch.creation import create
from infra.launch.plans import Plan, find_address, latest_end
from infra.model import Cluster

FIRST_S, MOST_S, GROWTH = 5.0, 300.0, 1.6
"""The first pause and the longest; a round is about ten calls for each region."""


def create_when_free(planned: Plan, wait_s: float, report: Callable[[str], None]) -> Cluster:
    """Launch a plan; while none of its regions has capacity, retry for `wait_s` seconds.

    Between two attempts nothing exists, so neither Ctrl-C nor a crash leaves anything. The lease begins with the successful
    attempt. Raises CapacityError when the time is over, or if no region offers this type at all.
    """
    began, pause_s = time.time(), FIRST_S
    until, current = began + wait_s, planned
    while True:
        try:
            return create(current, report)
        except CapacityError as error:
            left_s = until - time.time()
            if isinstance(error, PlaceError) or left_s <= 0:
                raise
        rest_s = min(pause_s * random.uniform(0.8, 1.2), left_s)  # noqa: S311  so that two waiting commands drift apart
        try:
            report(describe_wait(planned, time.time() + rest_s, until))
            time.sleep(rest_s)
            current = renew(planned, time.time() - began)
        except KeyboardInterrupt as error:
            error.add_note("nothing was launched")
            raise
        pause_s = min(pause_s * GROWTH, MOST_S)


def renew(planned: Plan, late_s: float) -> Plan:
    """Return the plan for a later attempt, with a new lease and this computer's current address."""
    try:
        address = find_address(planned.first.account, planned.request.network)
    except CloudError:
        address = planned.address
    until = min(planned.lease.until + late_s, latest_end(planned.choices))
    return replace(planned, attempt=None, address=address, lease=replace(planned.lease, until=until))


def describe_wait(planned: Plan, at: float, until: float) -> str:
    """Return a line about the wait: for what, when the next attempt is, and when it ends."""
    types = " or ".join(dict.fromkeys(offer.instance_type for choice in planned.choices for offer in choice.offers))
    regions = " or ".join(choice.account.region for choice in planned.choices)
    return f"waiting for a free {types} in {regions}; next attempt {clock(at)}, last {clock(until)} (Ctrl-C launches nothing)"


def clock(at: float) -> str:
    """Return a local time of day, with seconds if it is near."""
    form = "%H:%M:%S" if at - time.time() < 60 else "%H:%M" if at - time.time() < 43_200 else "%a %H:%M"
    return f"at {datetime.fromtimestamp(at, UTC).astimezone():{form}}"
