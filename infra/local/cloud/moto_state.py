"""Read and change moto's state; besides, `networks` and `forgetting` alone know its internals."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import AMIS, Ami, AmiBackend
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from infra.ec2.tags import ENDPOINT_TAG

# moto is not thread-safe: hold this lock to change its state or to answer from it.
LOCK = threading.RLock()


def _load_images(ec2: Any) -> None:
    """Load moto's 44 common images; its 1,250 others cost each listing of images a second."""
    for image in AMIS:
        ec2.amis[image["ami_id"]] = Ami(ec2, **image, owner_alias="amazon")


AmiBackend._load_amis = _load_images  # type: ignore[assignment, method-assign]


def backend(region: str) -> Any:
    """Return moto's EC2 backend of a region."""
    return ec2_backends[DEFAULT_ACCOUNT_ID][region]


def instances() -> Iterator[Any]:
    """Yield every instance of every region used so far."""
    for account in list(ec2_backends.values()):
        for regional in list(account.values()):
            for reservation in list(regional.reservations.values()):
                yield from list(reservation.instances)


def find_instance(region: str, instance_id: str) -> Any | None:
    """Find an instance in a region, or None."""
    return next((one for one in backend(region).all_instances() if one.id == instance_id), None)


def living(region: str) -> list[Any]:
    """List the instances of a region that count against its quotas."""
    return [one for one in backend(region).all_instances() if one.state in ("pending", "running")]


def find_template(region: str, template_id: str | None, name: str | None) -> Any | None:
    """Find a launch template in a region by id, otherwise by name; None if not found."""
    ec2 = backend(region)
    return ec2.launch_templates.get(template_id or ec2.launch_template_name_to_ids.get(name, ""))


def zone_of(region: str, subnet_id: str) -> str:
    """Return a subnet's zone; "" for an unknown subnet."""
    return next(
        (str(zones[subnet_id].availability_zone) for zones in backend(region).subnets.values() if subnet_id in zones),
        "",
    )


def default_subnet(region: str, zone: str) -> str:
    """Return the default subnet of a zone, or ""."""
    found = backend(region).subnets.get(zone, {}).values()
    return next((str(subnet.id) for subnet in found if subnet.default_for_az in (True, "true")), "")


def vcpus_of(instance_type: str) -> int:
    """Return the vCPUs of an instance type; 0 if moto does not know it."""
    return int(type_info(instance_type).get("VCpuInfo", {}).get("DefaultVCpus", 0))


def tags(region: str, resource_id: str) -> dict[str, str]:
    """Return the tags of a resource by id; empty if it does not exist."""
    return dict(backend(region).tags.get(resource_id, {}))


def key_pair_id(region: str, name: str) -> str:
    """Return the id of a key pair by name, or ""."""
    pair = backend(region).key_pairs.get(name)
    return str(pair.id) if pair else ""


def set_state(instance: Any, name: str, code: int) -> None:
    """Put an instance into a state that moto's own calls never produce, such as pending."""
    with LOCK:
        instance._state.name, instance._state.code = name, code


def relaunch(instances: Iterable[Any]) -> None:
    """Update the launch time of restarted instances, as EC2 does and moto does not."""
    for instance in instances:
        instance.launch_time = utcnow()


def end(instance: Any, code: str, message: str) -> None:
    """Terminate an instance for an internal reason of the cloud."""
    with LOCK:
        if instance.state in ("pending", "running", "stopped"):
            instance.terminate()
            instance.state_reason.code, instance.state_reason.message = code, f"{code}: {message}"
            instance._reason = f"Service initiated ({utcnow():%Y-%m-%d %H:%M:%S} GMT)"
            instance.off_at = utcnow()


@contextmanager
def hidden(region: str, ids: frozenset[str]) -> Iterator[None]:
    """Hide instances from moto while holding the lock, as if they did not exist yet."""
    ec2 = backend(region)
    with LOCK:
        before = dict(ec2.reservations)
        shown = {key: one for key, one in before.items() if not ids & {instance.id for instance in one.instances}}
        ec2.reservations.clear()
        ec2.reservations.update(shown)
        try:
            yield
        finally:
            ec2.reservations.clear()
            ec2.reservations.update(before)


def finish_launch(region: str, instance_id: str, interface_tags: dict[str, str]) -> None:
    """Complete a launch with what moto omits: ENA, and tags and security groups of network interfaces."""
    instance = find_instance(region, instance_id)
    if instance is None:
        return
    with LOCK:
        instance.ena_support = True  # as with every image of the last ten years
        for interface in instance.nics.values():
            instance.ec2_backend.create_tags([interface.id], interface_tags)
            instance.security_groups = instance.security_groups or list(interface.group_set)


def enter_fleet(region: str, fleet_id: str, ids: tuple[str, ...], template_id: str, version: int) -> None:
    """Register instances with a fleet, with the tags that AWS adds."""
    ec2, tags = backend(region), {"aws:ec2:fleet-id": fleet_id, "aws:ec2launchtemplate:id": template_id}
    with LOCK:
        fleet = ec2.fleets[fleet_id]
        for instance_id in ids:
            instance = find_instance(region, instance_id)
            fleet.on_demand_instances.append({"id": instance_id, "instance": instance})
            fleet.target_capacity += 1
            fleet.fulfilled_capacity += 1.0
            ec2.create_tags([instance_id], tags | {"aws:ec2launchtemplate:version": str(version)})


def public_key(instance: Any) -> str:
    """Return the public key of an instance's key pair, or ""."""
    pair = instance.ec2_backend.key_pairs.get(instance.key_name)
    return pair.public_key.strip() if pair else ""


def set_endpoint(instance: Any, endpoint: str | None) -> None:
    """Record in a tag where an instance's SSH server listens, or that it stopped listening."""
    with LOCK:
        if endpoint:
            instance.ec2_backend.create_tags([instance.id], {ENDPOINT_TAG: endpoint})
        else:
            instance.ec2_backend.delete_tags([instance.id], {ENDPOINT_TAG: None})


def shut_down(instance: Any) -> None:
    """Handle a machine that powers itself off as AWS does: terminate or stop it."""
    with LOCK:
        if instance.state != "running":
            return
        if instance.instance_initiated_shutdown_behavior == "terminate":
            instance.terminate()
        else:
            instance.stop()
        reason = "Client.InstanceInitiatedShutdown"
        instance.state_reason.code, instance.state_reason.message = reason, f"{reason}: Instance initiated shutdown"
        # EC2 omits the time: https://github.com/cloud-custodian/cloud-custodian/issues/6924
        instance._reason = "User initiated"
        instance.off_at = utcnow()


def console_time(instance: Any) -> datetime:
    """Return the time of an instance's last console output: now, or when it ended."""
    return getattr(instance, "off_at", None) or utcnow()


def remove_leftovers(instance: Any) -> None:
    """Delete a terminated instance's own network interfaces, which moto leaves behind."""
    with LOCK:
        for interface in list(instance.nics.values()):
            made_for_it = interface.device_index == 0 and interface.description == "Primary network interface"
            if made_for_it and interface.id in instance.ec2_backend.enis:
                with suppress(Exception):  # the instance no longer exists, whatever the state of its interface
                    interface.delete()


def image_id(region: str, name: str) -> str:
    """Return an x86_64 Ubuntu image that moto has in a region, renamed to the current release."""
    with LOCK:
        images = backend(region).amis.values()
        named = next((image for image in images if image.name == name), None)
        if named is None:
            fitting = [image for image in images if "ubuntu/images/hvm-ssd/" in (image.name or "") and is_plain(image)]
            named = max(fitting, key=lambda image: str(image.creation_date))
            named.name = name
    return str(named.id)


class OwnImage(Ami):
    """An image of an instance; moto gives each a 15 GiB disk that is not on EBS."""

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """The image's disk."""
        ebs = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": self.ebs_snapshot.volume.size, "VolumeType": "gp3"}
        return [{"DeviceName": self.root_device_name, "Ebs": {**ebs, "DeleteOnTermination": True}}]


def find_image(region: str, image_id: str) -> Any | None:
    """Find an image in a region, or None."""
    return backend(region).amis.get(image_id)


def owner_of(region: str, image_id: str) -> str:
    """Return an image's owner as in IAM's condition key `ec2:Owner`: `amazon` or an account number."""
    image = find_image(region, image_id)
    if image is None:
        return ""
    if is_own(image):
        return str(DEFAULT_ACCOUNT_ID)
    return "amazon" if (image.name or "").startswith("Deep Learning") else str(image.owner_id)


def has_image_named(region: str, name: str) -> bool:
    """Return whether the account has an image of this name in a region."""
    return any(image.name == name and is_own(image) for image in list(backend(region).amis.values()))


def has_own_images() -> bool:
    """Return whether an image created here, or its snapshot, is left in any region."""
    regions = [regional for account in list(ec2_backends.values()) for regional in list(account.values())]
    return any(is_own(image) for ec2 in regions for image in list(ec2.amis.values()))


def is_own(image: Any) -> bool:
    """Return whether an image was created here."""
    return isinstance(image, OwnImage)


def finish_image(instance: Any, image_id: str, snapshot_tags: dict[str, str]) -> None:
    """Complete a new image with what moto omits: its disk, snapshot tags and creation time."""
    ec2 = instance.ec2_backend
    with LOCK:
        image = ec2.amis[image_id]
        image.__class__ = OwnImage
        image.state, image.root_device_type = "pending", "ebs"
        image.root_device_name = instance.root_device_name
        disks = [ec2.volumes[disk.volume_id] for _, disk in instance.get_block_device_mapping]
        image.ebs_snapshot.volume.size = max((disk.size for disk in disks), default=8)
        ec2.create_tags([image.ebs_snapshot.id], snapshot_tags)


def set_image_state(region: str, image_id: str, state: str) -> None:
    """Set an image's state, if it still exists."""
    image = find_image(region, image_id)
    if image is not None:
        image.state = state


def is_plain(image: Any) -> bool:
    """Return whether an image boots from EBS on x86_64."""
    return bool(image.architecture == "x86_64" and image.root_device_type == "ebs")


def zones_with(region: str, instance_type: str) -> list[str]:
    """List the zones of a region that offer an instance type."""
    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return sorted(offer["Location"] for offer in offers if offer["InstanceType"] == instance_type)


def offerings(region: str, kind: str) -> list[tuple[str, str]]:
    """Map a region's instance types to where they are offered: zones, zone ids, or the region."""
    offers = INSTANCE_TYPE_OFFERINGS.get(kind, {}).get(region, [])
    return sorted((offer["InstanceType"], offer["Location"]) for offer in offers)


@cache
def regions_with(instance_type: str) -> list[str]:
    """List the regions that offer an instance type."""
    offers = INSTANCE_TYPE_OFFERINGS["region"]
    return sorted(name for name, types in offers.items() if any(one["InstanceType"] == instance_type for one in types))


def type_info(instance_type: str) -> dict[str, Any]:
    """Return moto's description of an instance type; empty if unknown."""
    return dict(INSTANCE_TYPES.get(instance_type, {}))
