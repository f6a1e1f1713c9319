"""Instance profiles and keys that a launch names, and parameters; by moto's internals."""

from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends

from infra.local.cloud.answers import Answer, error
from infra.local.cloud.faults import Faults
from infra.local.cloud.request import Request

PROFILE, KEY = "IamInstanceProfile.", "BlockDeviceMapping.1.Ebs.KmsKeyId"


def refuse_profile(request: Request, faults: Faults) -> Answer | None:
    """Return EC2's refusal of a missing instance profile; None if there is nothing to refuse."""
    wrong = find_profile_fault(request, faults)
    return error("ec2", "InvalidParameterValue", wrong) if wrong else None


def find_profile_fault(request: Request, faults: Faults) -> str:
    """Return what is wrong with the instance profile of a launch; "" for nothing.

    EC2 does not know a new profile for some seconds:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """
    fresh_s = faults.number("fresh-profiles") or 0.0
    named = {kind: request.params.get(f"{PROFILE}{kind}", "") for kind in ("Name", "Arn")}
    profiles = [
        one
        for one in iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values()
        if (utcnow() - one.create_date).total_seconds() >= fresh_s
    ]
    known = {"Name": {one.name for one in profiles}, "Arn": {one.arn for one in profiles}}
    for kind, value in named.items():
        if value and value not in known[kind]:
            words = f"Value ({value}) for parameter iamInstanceProfile.{kind.lower()} is invalid."
            return f"{words} Invalid IAM Instance Profile {kind.lower()}"
    return ""


def give_profile(request: Request, instance: Any) -> None:
    """Give a machine the instance profile of its launch; of several, moto gives it to the first only."""
    name, arn = (request.params.get(f"{PROFILE}{kind}") for kind in ("Name", "Arn"))
    backend = instance.ec2_backend
    if (name or arn) and instance.id not in backend.iam_instance_profile_associations:
        backend.associate_iam_instance_profile(instance.id, name, arn)


def find_roles(request: Request) -> list[str]:
    """Return the ARNs of the roles in the instance profile of a launch."""
    named = {request.params.get(f"{PROFILE}{kind}", "") for kind in ("Name", "Arn")} - {""}
    profiles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values()
    return [role.arn for one in profiles if {one.name, one.arn} & named for role in one.roles]


def find_role(instance: Any) -> Any | None:
    """Return the role in the instance profile of a machine; None without one, or if it was deleted."""
    found = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    profiles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values()
    known = [one for one in profiles if found and one.arn == found.iam_instance_profile.arn]
    return known[0].roles[0] if known and known[0].roles else None


def has_key(request: Request) -> bool:
    """Return whether the key of a launch's disk exists; EC2 checks it only when it starts the machine."""
    name = request.params.get(KEY, "").rpartition(":")[2].removeprefix("key/")
    keys = kms_backends[DEFAULT_ACCOUNT_ID][request.region]
    return not name or (keys.get_key_id_from_alias(name) if name.startswith("alias/") else name) in keys.keys


def parameter_tags(region: str, path: str) -> dict[str, str]:
    """Return the tags of a parameter of the Parameter Store; none if there is no such parameter."""
    from moto.ssm.models import ssm_backends

    tags = ssm_backends[DEFAULT_ACCOUNT_ID][region]._resource_tags
    return dict(tags["Parameter"][path]) if path in tags["Parameter"] else {}
