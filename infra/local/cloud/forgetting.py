"""Terminated instances: forgotten after an hour, and terminated again without effect, as by EC2.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html
"""

import copy
from typing import Any

from moto.ec2.models.instances import Instance, InstanceState

from infra.local.cloud.moto_state import LOCK

KEPT_S = 3600.0
_terminate = Instance.terminate


def _terminate_once(instance: Instance) -> InstanceState:
    """Terminate an instance, or succeed again: moto would delete its interfaces a second time."""
    return copy.copy(instance._state) if instance.state == "terminated" else _terminate(instance)


Instance.terminate = _terminate_once  # type: ignore[assignment, method-assign]


def forget(instance: Any) -> None:
    """Remove a terminated instance, its tags, and its reservation if no other instance is left in it."""
    with LOCK:
        ec2 = instance.ec2_backend
        for number, reservation in list(ec2.reservations.items()):
            if instance in reservation.instances:
                reservation.instances.remove(instance)
                if not reservation.instances:
                    del ec2.reservations[number]
        ec2.tags.pop(instance.id, None)
