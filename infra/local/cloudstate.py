"""Moto's own state, seen and changed in process; the one place that knows how moto keeps it."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from infra.local.record import ENDPOINT_TAG

IMAGE_NAME = "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.12 (Ubuntu 24.04)"

# Moto is not made for many threads at once: whoever changes its state, or answers from it, holds this.
LOCK = threading.RLock()


def backend(region: str) -> Any:
    """Return moto's EC2 of a region."""
    return ec2_backends[DEFAULT_ACCOUNT_ID][region]


def instances() -> Iterator[Any]:
    """Yield every instance of every region that was ever asked for."""
    for account in list(ec2_backends.values()):
        for regional in list(account.values()):
            for reservation in list(regional.reservations.values()):
                yield from list(reservation.instances)


def find_instance(region: str, instance_id: str) -> Any | None:
    """Find an instance of a region; None when there is none."""
    return next((one for one in backend(region).all_instances() if one.id == instance_id), None)


def public_key(instance: Any) -> str:
    """Return the public key of an instance's key pair, nothing when it has none."""
    pair = instance.ec2_backend.key_pairs.get(instance.key_name)
    return pair.public_key.strip() if pair else ""


def set_endpoint(instance: Any, endpoint: str | None) -> None:
    """Tell by a tag where an instance's SSH server listens, or that it listens no more."""
    with LOCK:
        if endpoint:
            instance.ec2_backend.create_tags([instance.id], {ENDPOINT_TAG: endpoint})
        else:
            instance.ec2_backend.delete_tags([instance.id], {ENDPOINT_TAG: None})


def shut_down(instance: Any) -> None:
    """Do what AWS does when a machine powers itself off: terminate it, or stop it."""
    with LOCK:
        if instance.state != "running":
            return
        if instance.instance_initiated_shutdown_behavior == "terminate":
            instance.terminate()
        else:
            instance.stop()
        reason = "Client.InstanceInitiatedShutdown"
        instance.state_reason.code, instance.state_reason.message = reason, f"{reason}: Instance initiated shutdown"


def remove_leftovers(instance: Any) -> None:
    """Delete what AWS deletes with a terminated instance and moto leaves behind: its own network interfaces."""
    with LOCK:
        for interface in list(instance.nics.values()):
            made_for_it = interface.device_index == 0 and interface.description == "Primary network interface"
            if made_for_it and interface.id in instance.ec2_backend.enis:
                with suppress(Exception):  # the instance is gone, whatever its interface says
                    interface.delete()


def image_id(region: str) -> str:
    """Return an Ubuntu image for x86_64 that moto knows in a region, under the name that AWS gives its PyTorch images."""
    with LOCK:
        images = backend(region).amis.values()
        named = next((image for image in images if image.name == IMAGE_NAME), None)
        if named is None:
            fitting = [image for image in images if "ubuntu/images" in (image.name or "") and is_plain(image)]
            named = max(fitting, key=lambda image: str(image.creation_date))
            named.name = IMAGE_NAME
    return str(named.id)


def is_plain(image: Any) -> bool:
    """Tell whether an image boots from EBS on x86_64."""
    return bool(image.architecture == "x86_64" and image.root_device_type == "ebs")


def zones_with(region: str, instance_type: str) -> list[str]:
    """List the zones of a region that offer an instance type."""
    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return sorted(offer["Location"] for offer in offers if offer["InstanceType"] == instance_type)


def regions_with(instance_type: str) -> list[str]:
    """List the regions that offer an instance type."""
    offers = INSTANCE_TYPE_OFFERINGS["region"]
    return sorted(name for name, types in offers.items() if any(one["InstanceType"] == instance_type for one in types))


def type_info(instance_type: str) -> dict[str, Any]:
    """Return what moto knows of an instance type, nothing when it does not know it."""
    return dict(INSTANCE_TYPES.get(instance_type, {}))
