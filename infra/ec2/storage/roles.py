"""Whether the role of machines may upload to a bucket."""

from contextlib import suppress

from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.storage.buckets import name_bucket, ready_bucket
from infra.ec2.storage.policies import MACHINE_ON_BUCKET, MACHINE_ON_OBJECTS
from infra.errors import GpujobError, NotFoundError, PermissionsError

HINT = "gpujob policy --machines"


def check_role(account: Account, profile: str, bucket: str) -> None:
    """Raise GpujobError if machines with this instance profile cannot upload to a bucket.

    Raises PermissionsError if the caller may not ask.
    """
    try:
        with aws_errors():
            found = account.iam.get_instance_profile(InstanceProfileName=profile.rpartition("/")[2])["InstanceProfile"]
    except NotFoundError as error:
        what = f"there is no instance profile {profile}, which machines need to upload to the bucket {bucket}"
        raise NotFoundError(what, HINT) from error
    roles = [role["Arn"] for role in found["Roles"]]
    if not roles:
        raise GpujobError(f"the instance profile {profile} has no role to upload to the bucket {bucket} with", HINT)
    refused = find_refused(account, roles[0], bucket)
    if refused:
        raise GpujobError(f"the role of {profile} does not allow {', '.join(refused)} on the bucket {bucket}", HINT)


def ready_uploads(account: Account, profile: str, bucket: str) -> str:
    """Return the name of a bucket that is ready for uploads of machines with this instance profile.

    Raises GpujobError if they could not upload, before anything is billed.
    """
    with suppress(PermissionsError):  # the caller may not ask; gpujob check says so
        check_role(account, profile, name_bucket(account, bucket))
    return ready_bucket(account, bucket)


def find_refused(account: Account, role: str, bucket: str) -> list[str]:
    """Return what a role may not do in a bucket, as IAM simulates it."""
    wanted = {
        f"arn:aws:s3:::{bucket}": MACHINE_ON_BUCKET,
        f"arn:aws:s3:::{bucket}/c/t/tasks/0/1/log": MACHINE_ON_OBJECTS,
    }
    with aws_errors():
        answers = [
            account.iam.simulate_principal_policy(
                PolicySourceArn=role, ActionNames=list(actions), ResourceArns=[resource]
            )["EvaluationResults"]
            for resource, actions in wanted.items()
        ]
    return [one["EvalActionName"] for answer in answers for one in answer if one["EvalDecision"] != "allowed"]
