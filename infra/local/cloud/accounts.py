"""Instance profiles and keys that a launch names. Like `moto_state` it knows moto's internals."""

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.kms.models import kms_backends

from infra.local.cloud.answers import Answer, error
from infra.local.cloud.request import Request

PROFILE, KEY = "IamInstanceProfile.", "BlockDeviceMapping.1.Ebs.KmsKeyId"


def refuse_profile(request: Request) -> Answer | None:
    """Return EC2's refusal of a missing instance profile; None if there is nothing to refuse."""
    named = {kind: request.params.get(f"{PROFILE}{kind}", "") for kind in ("Name", "Arn")}
    profiles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values()
    known = {"Name": {one.name for one in profiles}, "Arn": {one.arn for one in profiles}}
    for kind, value in named.items():
        if value and value not in known[kind]:
            words = f"Value ({value}) for parameter iamInstanceProfile.{kind.lower()} is invalid."
            return error("ec2", "InvalidParameterValue", f"{words} Invalid IAM Instance Profile {kind.lower()}")
    return None


def find_roles(request: Request) -> list[str]:
    """Return the ARNs of the roles in the instance profile of a launch."""
    named = {request.params.get(f"{PROFILE}{kind}", "") for kind in ("Name", "Arn")} - {""}
    profiles = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].instance_profiles.values()
    return [role.arn for one in profiles if {one.name, one.arn} & named for role in one.roles]


def has_key(request: Request) -> bool:
    """Return whether the key of a launch's disk exists; EC2 checks it only when it starts the machine."""
    name = request.params.get(KEY, "").rpartition(":")[2].removeprefix("key/")
    keys = kms_backends[DEFAULT_ACCOUNT_ID][request.region]
    return not name or (keys.get_key_id_from_alias(name) if name.startswith("alias/") else name) in keys.keys
