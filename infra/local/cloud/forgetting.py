"""Forget terminated instances, as EC2 does after about an hour; moto keeps them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html
"""

from typing import Any

from infra.local.cloud.moto_state import LOCK

KEPT_S = 3600.0


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
